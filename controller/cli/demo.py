"""`demo`: two rollouts on simulated models, through the real gateway, controller and database. No key, no network."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import indent
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
    database: Annotated[
        str | None,
        typer.Option(
            "--database",
            metavar="URL",
            help="An empty database for it alone, such as postgresql://… Default: SQLite in its folder.",
            show_default=False,
        ),
    ] = None,
    controllers: Annotated[
        int,
        typer.Option(
            "--controllers",
            metavar="N",
            min=1,
            max=5,
            help="How many. With two or more, the one that leads is killed in the middle of the second rollout.",
        ),
    ] = 1,
) -> None:
    """Watch a rollout succeed and one fail, in about a minute. No key, no network.

    The models, Slack and the time are simulated: a minute ends as soon as its requests are answered, counted and
    judged. The gateway, the controllers, the database and the sockets between them are the real ones. Ctrl-C stops it;
    `demo --resume` goes on.
    """
    from controller.demo.director import begun
    from controller.demo.place import Place
    from controller.wiring import Opening, open_store

    context = Context.of(ctx)
    place = Place(folder.resolve())
    _prepare(place, resume=resume, fresh=fresh)
    url = database or place.database
    place.folder.mkdir(parents=True, exist_ok=True)
    store = open_store(url, Opening.UPGRADED)
    try:
        if not resume:
            _require_empty(store)
        setup = begun(place, seed, controllers)
        completed = _perform(context, place, store, setup, url)
        if not completed:
            context.say(
                f"Stopped. `canaryctl demo --resume{_dir_option(folder)}` goes on where it was."
            )
            raise typer.Exit(INTERRUPTED)
    finally:
        store.close()
    (place.folder / "over").touch()
    _conclude(context, place, folder, database)


def _require_empty(store: Store) -> None:
    """What is in a database may be somebody's: it is never emptied here."""
    there = [head.state.rollout for head in store.heads()]
    if there:
        raise Refused(
            f"--database: it is not empty, it has {', '.join(there[:3])}"
            f"{' and more' if len(there) > 3 else ''}. A demonstration needs one of its own."
        )


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


def _perform(context: Context, place: Place, store: Store, setup: Setup, url: str) -> bool:
    """Whether it was played to its end."""
    import asyncio

    from controller.cli.stage import Lines, Screen
    from controller.demo.director import Director

    out = console(context)
    stage: Stage = Screen(out, store) if context.stdout.isatty() else Lines(context.stdout, store)
    with stage:
        try:
            director = Director(
                place, store, setup, stage.show, database=url, environ=context.environ
            )
            asyncio.run(director.run())
        except KeyboardInterrupt:
            return False
    return True


def _conclude(context: Context, place: Place, folder: Path, url: str | None) -> None:
    """What was told in Slack, and what an auditor would look at, by the commands that he would use."""
    from controller.demo.channel import CHANNEL, threads
    from controller.demo.story import HEALTHY, WORSE

    for parent, *replies in threads(place.slack):
        print(f"\n#{CHANNEL} (simulated Slack)\n{indent(parent, '  ')}", file=context.stdout)
        for reply in replies:
            print(indent(reply, "    | "), file=context.stdout)
    for line in (["history", HEALTHY], ["history", WORSE], ["audit", "verify"]):
        print(f"\n$ canaryctl {' '.join(line)}", file=context.stdout, flush=True)
        code = _run_as_typed(context, line, url or place.database)
        if code:
            raise typer.Exit(code)
    from controller.settings import without_password

    shown = without_password(url) if url else f"sqlite:///{folder / 'canaryctl.db'}"
    print(
        f"\nModels, Slack and time were simulated. The rest was real, and is in {folder}/:\n"
        f"  export CANARY_DATABASE_URL={shown}\n"
        f"  canaryctl describe {WORSE}; canaryctl replay {WORSE}; canaryctl history {HEALTHY} -o json",
        file=context.stdout,
    )


def _run_as_typed(context: Context, arguments: Sequence[str], url: str) -> int:
    """The command itself, in a process of its own."""
    environ = {**context.environ, "CANARY_DATABASE_URL": url}
    environ.pop("CANARY_DATABASE_URL_FILE", None)
    command = [sys.executable, "-m", "controller.cli.main", *arguments]
    return subprocess.run(command, env=environ, check=False).returncode  # noqa: S603 - our own


def _dir_option(folder: Path) -> str:
    return "" if folder == FOLDER else f" --dir {folder}"
