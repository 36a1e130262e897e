"""`demo`: two rollouts on simulated models, through the real gateway, controller and database. No key, no network."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controller.cli.context import Context
from controller.cli.output import console
from controller.errors import DataError, Refused

if TYPE_CHECKING:
    from controller.cli.stage import Stage
    from controller.demo.director import Setup
    from controller.demo.place import Place
    from controller.ports import Store

FOLDER = Path("canaryctl-demo")
INTERRUPTED = 130


def register(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    ctx: typer.Context,
    folder: Annotated[
        Path,
        typer.Option(
            "--dir", metavar="FOLDER", help="Where its clock, database and logs are kept."
        ),
    ] = FOLDER,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the one that was stopped there.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew, whatever was there.")] = False,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="Of the traffic and the simulated models.")
    ] = 1,
) -> None:
    """Watch a rollout succeed and one fail, in about a minute. No key, no network.

    The models are simulated, and so is the time: a minute ends as soon as its requests are answered, counted and
    judged. The gateway, the controller, the database and the sockets between them are the real ones. Ctrl-C stops it;
    `demo --resume` goes on.
    """
    from controller.demo.director import begun
    from controller.demo.place import Place
    from controller.wiring import Opening, open_store

    context = Context.of(ctx)
    place = Place(folder.resolve())
    _prepare(place, resume=resume, fresh=fresh)
    setup = begun(place, seed)
    store = open_store(place.database, Opening.CREATED)
    try:
        completed = _perform(context, place, store, setup)
        if not completed:
            context.say(
                f"Stopped. `canaryctl demo --resume{_dir_option(folder)}` goes on where it was."
            )
            raise typer.Exit(INTERRUPTED)
    finally:
        store.close()
    (place.folder / "over").touch()
    _conclude(context, place, folder)


def _prepare(place: Place, *, resume: bool, fresh: bool) -> None:
    """The folder, ready to begin or to go on. What a person may still want is never thrown away unasked."""
    if resume and fresh:
        raise DataError("--resume and --fresh: one or the other.")
    there = place.setup.exists()
    if place.folder.exists() and not there and any(place.folder.iterdir()):
        raise DataError(
            f"{place.folder} is not the folder of a demonstration. Name another with --dir."
        )
    over = (place.folder / "over").exists()
    if resume:
        if not there:
            raise DataError(
                f"{place.folder}: no demonstration was begun there; leave out --resume."
            )
        if over:
            raise DataError(f"{place.folder}: that demonstration is over; --fresh begins anew.")
        return
    if there and not (over or fresh):
        raise Refused(
            f"{place.folder}: a demonstration was stopped there. --resume goes on, --fresh begins anew."
        )
    if there:
        shutil.rmtree(place.folder)


def _perform(context: Context, place: Place, store: Store, setup: Setup) -> bool:
    """Whether it was played to its end."""
    from controller.cli.stage import Lines, Screen
    from controller.demo.director import Director

    out = console(context)
    stage: Stage = Screen(out, store) if context.stdout.isatty() else Lines(context.stdout, store)
    with stage:
        try:
            asyncio.run(Director(place, store, setup, stage.show).run())
        except KeyboardInterrupt:
            return False
    return True


def _conclude(context: Context, place: Place, folder: Path) -> None:
    """What an auditor would look at, by the commands that he would use."""
    from controller.demo.story import HEALTHY, WORSE

    for line in (["history", HEALTHY], ["history", WORSE], ["audit", "verify"]):
        print(f"\n$ canaryctl {' '.join(line)}", file=context.stdout, flush=True)
        code = _run_as_typed(context, line, place)
        if code:
            raise typer.Exit(code)
    database = folder / "canaryctl.db"
    print(
        f"\nAll of it was simulated: models and time. The rest was real, and is in {folder}/:\n"
        f"  export CANARY_DATABASE_URL=sqlite:///{database}\n"
        f"  canaryctl describe {WORSE}; canaryctl replay {WORSE}; canaryctl history {HEALTHY} -o json",
        file=context.stdout,
    )


def _run_as_typed(context: Context, arguments: Sequence[str], place: Place) -> int:
    """The command itself, in a process of its own."""
    environ = {**context.environ, "CANARY_DATABASE_URL": place.database}
    environ.pop("CANARY_DATABASE_URL_FILE", None)
    command = [sys.executable, "-m", "controller.cli.main", *arguments]
    return subprocess.run(command, env=environ, check=False).returncode  # noqa: S603 - our own


def _dir_option(folder: Path) -> str:
    return "" if folder == FOLDER else f" --dir {folder}"
