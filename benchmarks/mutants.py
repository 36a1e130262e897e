"""Whether the tests would notice a wrong line: `python -m benchmarks.mutants [MODULE ...] [--all] [--none]`.

mutmut changes one operator, number, word or argument of a function at a time; a test must fail for each. MODULE is one
as in `stats.betting`, or a group of them: `stats`, and of `rollout` `decisions`, `evidence`, `measures`, `sums`,
`accounting`, `stretches`, `records`. Tried are the functions that changed since they last were, and survivors that have
no reason; with `--all` every function. `--none` tries nothing and writes the page anew, with what a run that was broken
off has found. `--within S` leaves out tests that took more seconds: what survives then is tried on all of them by a run
without it. `--at-once N` runs so many side by side. Work is done on a copy in .mutants/, which git ignores.

Writes docs/mutation.md, and docs/mutation.json with what it tells. Why a survivor may live is said in
benchmarks/mutants.toml: a test sees to it that each has its reason. Needs the dependency group `mutation`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from benchmarks.mutants_found import WORK, Kept, Mutant, changed, lines_of, mutants, told
from benchmarks.mutants_groups import GROUPS, SETTINGS, group_of, modules, source
from benchmarks.mutants_page import PAGE, page, reasons, why
from benchmarks.quickest_first import TOLD_OF_TESTS, WITHIN
from benchmarks.write import FOLDER

KEPT: Final = FOLDER / "docs" / "mutation.json"
QUICKEST_FIRST: Final = FOLDER / "benchmarks" / "quickest_first.py"
AT_ONCE: Final = 2
NAMES: Final = 2000  # in one run: mutmut compares each mutant with each of them


def lay_out(name: str) -> Path:
    """A copy of the project beside what mutmut kept of the last time; a file that is the same keeps its time.

    Which tests reach which functions is found out anew once a test is another one: mutmut knows them by name alone.
    """
    work = WORK / name
    reached = work / "mutants" / TOLD_OF_TESTS
    for part in ("controller", "tests", "rollout_plans"):
        here, there = FOLDER / part, work / part
        for path in list(there.rglob("*.py")):
            if path.name != QUICKEST_FIRST.name and not (here / path.relative_to(there)).exists():
                path.unlink()
                reached.unlink(missing_ok=True)
        for path in here.rglob("*"):
            copy = there / path.relative_to(here)
            if path.is_dir() or "__pycache__" in path.parts:
                continue
            if not copy.exists() or copy.read_bytes() != path.read_bytes():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, copy)
                if part == "tests":
                    reached.unlink(missing_ok=True)
    shutil.copy(QUICKEST_FIRST, work / "tests")
    shared = work / "shared"  # where the tests look for cases that are kept outside the project
    if not shared.is_symlink():
        shared.symlink_to(FOLDER.parent / "shared")
    settings = {
        **SETTINGS,
        "only_mutate": [
            source(module).relative_to(FOLDER).as_posix() for module in GROUPS[name].modules
        ],
        "pytest_add_cli_args_test_selection": GROUPS[name].tests,
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    project = (FOLDER / "pyproject.toml").read_text(encoding="utf-8")
    told = "\n".join([project, "[tool.mutmut]", *lines, ""])
    (work / "pyproject.toml").write_text(told, encoding="utf-8")
    return work


def make(group: str) -> None:
    """The mutants of the copy as it now is. mutmut makes them before it looks for the names that it is to run."""
    ended = subprocess.run(
        [_mutmut(), "run", "no such mutant"],
        cwd=WORK / group,
        check=False,
        capture_output=True,
        text=True,
    )
    if "nothing matches" not in ended.stderr:
        raise LookupError(
            f"mutmut made no mutants of {group}: {ended.stdout[-500:]}{ended.stderr[-500:]}"
        )


def run(group: str, names: Sequence[str], at_once: int, within: float | None) -> None:
    """The tests of a group on mutants by name."""
    limit = {} if within is None else {WITHIN: str(within)}
    for start in range(0, len(names), NAMES):
        subprocess.run(
            [_mutmut(), "run", "--max-children", str(at_once), *names[start : start + NAMES]],
            cwd=WORK / group,
            env=os.environ | limit,
            check=True,
        )


def _mutmut() -> str:
    mutmut = Path(sys.executable).parent / "mutmut"
    if not mutmut.exists():
        raise LookupError(f"{mutmut} is missing; install the dependency group `mutation`")
    return str(mutmut)


def unsettled(module: str, before: Kept | None) -> Iterator[Mutant]:
    """Mutants that were not run of functions that changed, and survivors that nobody gave a reason for."""
    left = changed(module, before["functions"] if before is not None else {})
    made = mutants(module)
    yield from (one for one in made if one.code is None and one.function in left)
    lived, said = [one for one in made if one.lived], reasons()
    for one, lines in zip(lived, lines_of(module, lived), strict=True):
        if why(module, lines, said) is None:
            yield one


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE")
    parser.add_argument("--all", action="store_true", help="every function, changed or not")
    parser.add_argument(
        "--at-once", type=int, default=AT_ONCE, metavar="N", help="mutants at a time"
    )
    parser.add_argument(
        "--within", type=float, metavar="S", help="leave out tests that took more seconds"
    )
    parser.add_argument("--none", action="store_true", help="run nothing, write the page")
    asked = parser.parse_args()
    kept: dict[str, Kept] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    try:
        wanted = modules(asked.modules)
        if not asked.none:
            _try(wanted, kept, every=asked.all, at_once=asked.at_once, within=asked.within)
    except LookupError as problem:
        parser.error(str(problem))
    kept = {one: told(one, kept.get(one)) for one in modules([])}
    KEPT.write_text(
        json.dumps(kept, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    PAGE.write_text(page(kept, reasons()), encoding="utf-8")


def _try(
    wanted: Sequence[str], kept: dict[str, Kept], *, every: bool, at_once: int, within: float | None
) -> None:
    for group in GROUPS:
        own = [one for one in wanted if group_of(one) == group]
        if not own:
            continue
        lay_out(group)
        make(group)
        if every:
            names = [mutant.name for one in own for mutant in mutants(one)]
        else:
            names = [mutant.name for one in own for mutant in unsettled(one, kept.get(one))]
        print(f"{group}: {len(names):,} mutants to run", file=sys.stderr, flush=True)
        run(group, names, at_once, within)


if __name__ == "__main__":
    main()
