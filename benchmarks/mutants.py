"""Whether the tests would notice a wrong line: `python -m benchmarks.mutants [MODULE ...] [--again] [--none]`.

mutmut changes one operator, number, word or argument of a function at a time; a test must fail for each. MODULE is one
as in `stats.betting`, or a group of them: `stats`, and of `rollout` `decisions`, `evidence`, `measures`, `sums`,
`accounting`, `stretches`, `records`. `--again` runs only survivors that have no reason and what was not run; `--none`
runs nothing and writes the page anew, with what a run that was broken off has found of each MODULE. `--within S` leaves
out tests that took more seconds: what survives then is run on all with `--again`. `--at-once N` runs so many side by
side. Work is done on a copy in .mutants/, which git ignores, with what came before kept.

Writes docs/mutation.md, and docs/mutation.json with what it tells. Why a survivor may live is said in
benchmarks/mutants.toml: a test sees to it that each has its reason. Needs the dependency group `mutation`.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.quickest_first import TOLD_OF_TESTS, WITHIN
from benchmarks.write import FOLDER, table, wrapped

KEPT: Final = FOLDER / "docs" / "mutation.json"
PAGE: Final = FOLDER / "docs" / "mutation.md"
REASONS: Final = FOLDER / "benchmarks" / "mutants.toml"
WORK: Final = FOLDER / ".mutants"
QUICKEST_FIRST: Final = FOLDER / "benchmarks" / "quickest_first.py"
AT_ONCE: Final = 2
NAMES: Final = 2000  # in one run: mutmut compares each mutant with each of them


@dataclass(frozen=True, slots=True)
class Group:
    """Modules of one package that the same tests are about. No names: all of the package."""

    package: str
    tests: Sequence[str]
    names: Sequence[str] = ()

    @property
    def modules(self) -> list[str]:
        every = sorted(path.stem for path in (FOLDER / "controller" / self.package).glob("*.py"))
        return [f"{self.package}.{one}" for one in self.names or every if one != "__init__"]


_STORED: Final = ("ingest", "blocks", "sampled", "people", "capped", "prune")

GROUPS: Final = {
    # Without simulations and searches that take seconds: other tests look at the same functions.
    "stats": Group(
        "stats",
        [
            *("tests/stats", "-k"),
            "not alarm_is_false and not swapping_the_arms_turns_the_interval and not encloses_mee",
        ],
    ),
    # Walks through whole rollouts would see more, and take longer than all other tests together.
    "decisions": Group(
        "rollout",
        [
            f"tests/rollout/test_{name}.py"
            for name in (
                *("decide", "commands", "revisions", "verdicts", "waits", "resume", "alpha"),
                *("judge", "discoveries", "destinations", "route", "status", "assignment"),
            )
        ],
        (
            *("rules", "decide", "advance", "obey", "stops", "resume", "amend", "scene", "steps"),
            *("state", "status", "verdict", "discoveries", "destinations", "route", "assignment"),
        ),
    ),
    # Without simulations that take seconds.
    "evidence": Group(
        "rollout",
        [
            *(
                f"tests/rollout/test_{name}.py"
                for name in (
                    *("readings", "starts", "in_force", "force", "judge", "metrics_by_hand"),
                    *("coverage", "coverage_edges", "sampled_coverage", "sampling", "spike"),
                    *(
                        "looks",
                        "view",
                        "proofs",
                        "percentile_proofs",
                        "ratio_proofs",
                        "below_proofs",
                        "alpha",
                    ),
                    *("needs", "needs_by_hand", "needs_of_people", "prospects"),
                )
            ),
            *("-k", "not hardly_ever_stopped and not seems_to_lose and not then_take"),
        ],
        (
            *("proofs", "starts", "comparison", "readings", "needs", "force", "prospects"),
            *("coverage", "sampling"),
        ),
    ),
    # What proofs are about, without proofs.
    "measures": Group(
        "rollout",
        [
            f"tests/rollout/test_{name}.py"
            for name in ("view", "looks", "metrics_by_hand", "spike", "starts", "readings")
        ],
        ("looks", "view", "availability"),
    ),
    "sums": Group(
        "rollout",
        [
            f"tests/rollout/test_{name}.py"
            for name in (
                *("sums", "tallies", "readings", "metrics_by_hand", "coverage_edges", "spike"),
                *("percentile_proofs", "ratio_proofs", "below_proofs"),
            )
        ],
        ("sums", "tallies", "reader", "columns", "timeline"),
    ),
    # What a database holds is another's contract: the counts are those of memory.
    "accounting": Group(
        "rollout",
        [
            *("tests/accounting/test_counting.py", "tests/accounting/test_conservation.py"),
            "tests/rollout/test_sampling.py",
            *(f"tests/contract/test_store_{name}.py" for name in _STORED),
            *("tests/rollout/test_prospects.py", "tests/rollout/test_needs.py"),
            *("-k", "not sqlite and not postgresql and not seems_to_lose and not then_take"),
        ],
        (
            *("accounting", "accounting_blocks", "accounting_people", "accounting_state"),
            "accounting_tally",
        ),
    ),
    # Proofs that are a product over stretches of both arms or of bills and grades.
    "stretches": Group(
        "rollout",
        [
            f"tests/rollout/test_{name}.py"
            for name in ("powered", "needs_of_people", "spending_proofs", "ratio_proofs")
        ],
        ("powered", "by_minute", "caps", "spending"),
    ),
    "records": Group(
        "rollout",
        [
            *("tests/contract/test_store.py", "tests/rollout/test_walks.py"),
            *("tests/rollout/test_chain.py", "tests/rollout/test_codec.py"),
            *("tests/rollout/test_plan.py", "tests/rollout/test_catalogue.py"),
            *("tests/reconcile/test_ratio.py", "tests/rollout/test_decide.py"),
            *("tests/plans/test_load.py", "tests/plans/test_units.py", "tests/plans/test_diff.py"),
            *("tests/gateway/test_meter.py", "tests/rollout/test_status.py"),
            *("-k", "not sqlite and not postgresql and not test_1 and not test_2 and not test_3"),
        ],
        (
            *("codec", "record", "anchors", "replay", "plan", "units", "metrics"),
            *("commands", "decision", "observation"),  # these have no function
        ),
    ),
}

SETTINGS: Final[Mapping[str, Any]] = {
    "source_paths": ["controller"],
    "also_copy": ["rollout_plans"],  # tests load them
    # No test is about the wording of an error, and a branch that types rule out cannot be taken.
    "do_not_mutate_patterns": [r"raise \w+\(", r"assert_never\("],
    # Two collections of garbage would cost more than most tests.
    "pytest_add_cli_args": [
        "--hypothesis-profile=mutants",
        *("-p", "no:cacheprovider", "-p", "no:unraisableexception", "-p", "no:threadexception"),
        *("-p", "tests.quickest_first"),
    ],
    # Each mutant begins as the tests do: with nothing in a cache that the unchanged code had put there.
    "process_isolation": "forkserver",
    "timeout_constant": 2.0,
    "timeout_multiplier": 5.0,
    "use_git_change_detection": False,
    "on_dependency_change": "ignore",
}

STATUS: Final = {0: "survived", 1: "killed", 3: "killed", 5: "not reached", 33: "not reached"}
TIMED_OUT: Final = {-24, 24, 36, 152, 255}
LIVED: Final = {"survived", "not reached"}

INTRO: Final = """\
# Mutation testing

`python -m benchmarks.mutants` writes this page (CONTRIBUTING.md says how to set it up). One operator, number, word or
argument of a function is changed at a time, and the tests that are about its module are run on the result. *Killed*: a
test failed. *Timed out*: a test did not end, which is noticed too. *Survived*: every test passed, so either a test is
missing or the change is none: each is listed below with the reason why it may live.

Each count is of the last time that a module was run, at the commit beside it; what changed in it since was not tried.
All changes of a function are tried anew when it changed, and a survivor without a reason when tests did. *Not run* were
those for which there was no time. A survivor with a reason may have been tried on the quickest of its tests only, and
some results of proofs, comparison, needs, force and readings are of a run with fewer tests than those below.

mutmut changes nothing outside of functions (constants, defaults of fields), nothing below a decorator other than
`staticmethod` and `classmethod` (properties, cached functions), and here neither the wording of errors that are raised
nor `assert_never`. A module with no mutants has nothing else: types, with a property at most.
"""


@dataclass(frozen=True, slots=True)
class Survivor:
    """A change that no test noticed: the lines that were there and those instead."""

    function: str
    was: str
    now: str

    @property
    def change(self) -> str:
        return f"{self.was} → {self.now}"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why survivors may live: those of `module` and `function`, if told, whose change is one of `changes` or is `like`.

    A change is "was → now"; `like` is a regular expression for the whole of one.
    """

    why: str
    module: str = ""
    function: str = ""
    changes: Sequence[str] = ()
    like: str = ""

    def holds(self, module: str, one: Survivor) -> bool:
        if self.module not in {"", module} or self.function not in {"", one.function}:
            return False
        return one.change in self.changes or bool(
            self.like and re.fullmatch(self.like, one.change, re.DOTALL)
        )


def reasons() -> list[Reason]:
    return [Reason(**one) for one in tomllib.loads(REASONS.read_text(encoding="utf-8"))["reason"]]


def why(module: str, one: Survivor, said: Sequence[Reason]) -> str | None:
    """The first reason that holds; None if nobody gave one."""
    return next((reason.why for reason in said if reason.holds(module, one)), None)


# Running


def modules(asked: Sequence[str]) -> list[str]:
    """Every module that is asked for, as `stats.betting`. Raises LookupError for what is none."""
    every = [module for group in GROUPS.values() for module in group.modules]
    unknown = set(asked) - set(every) - GROUPS.keys()
    if unknown:
        raise LookupError(
            f"{', '.join(sorted(unknown))}: not one of {', '.join([*GROUPS, *every])}"
        )
    chosen = {module for name in GROUPS.keys() & set(asked) for module in GROUPS[name].modules}
    return [one for one in every if not asked or one in chosen or one in asked]


def group_of(module: str) -> str:
    return next(name for name, group in GROUPS.items() if module in group.modules)


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
            _source(module).relative_to(FOLDER).as_posix() for module in GROUPS[name].modules
        ],
        "pytest_add_cli_args_test_selection": GROUPS[name].tests,
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    project = (FOLDER / "pyproject.toml").read_text(encoding="utf-8")
    told = "\n".join([project, "[tool.mutmut]", *lines, ""])
    (work / "pyproject.toml").write_text(told, encoding="utf-8")
    return work


def run(group: str, names: Sequence[str], at_once: int, within: float | None) -> None:
    """mutmut itself, on mutants by name or pattern."""
    mutmut = Path(sys.executable).parent / "mutmut"
    if not mutmut.exists():
        raise LookupError(f"{mutmut} is missing; install the dependency group `mutation`")
    command = [str(mutmut), "run", "--max-children", str(at_once), *names]
    limit = {} if within is None else {WITHIN: str(within)}
    subprocess.run(command, cwd=WORK / group, env=os.environ | limit, check=True)


# Reading what mutmut found


def outcomes(module: str) -> dict[str, int | None]:
    """mutmut's exit code of each mutant by its name; None where it was not run."""
    path = _mutated(module).with_suffix(".py.meta")
    if not path.exists():
        return {}
    found: dict[str, int | None] = json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
    return found


def told(module: str) -> dict[str, Any]:
    """What is kept of one module: how its mutants ended, and those that survived."""
    ended = outcomes(module)
    counts = Counter(_status(code) for code in ended.values())
    lived = _named(module, LIVED)
    return {
        "text": _digest(module),
        "commit": _commit(),
        "counts": dict(sorted(counts.items())),
        "survivors": [
            {"function": one.function, "was": one.was, "now": one.now}
            for one in sorted(
                _survivors(module, lived), key=lambda one: (one.function, one.was, one.now)
            )
        ],
    }


def _status(code: int | None) -> str:
    if code is None:
        return "not run"
    return "timed out" if code in TIMED_OUT else STATUS.get(code, "crashed")


def _survivors(module: str, names: Sequence[str]) -> Iterator[Survivor]:
    path = _mutated(module)
    lines = path.read_text(encoding="utf-8").splitlines()
    spans = json.loads(path.with_suffix(".py.spans").read_text(encoding="utf-8"))["spans"]
    for name in names:
        mutant = name.rpartition(".")[2]
        function = mutant.partition("__mutmut_")[0]
        before, after = (
            _text(lines[slice(spans[key][0] - 1, spans[key][1])], key)
            for key in (f"{function}__mutmut_orig", mutant)
        )
        was, now = _difference(before, after)
        yield Survivor(function=_spoken(function), was=was, now=now)


def _text(lines: Sequence[str], name: str) -> list[str]:
    return [line.replace(name, "_").strip() for line in lines]


def _difference(before: Sequence[str], after: Sequence[str]) -> tuple[str, str]:
    changed = list(difflib.ndiff(before, after))
    return (
        " ".join(line[2:] for line in changed if line.startswith("- ")),
        " ".join(line[2:] for line in changed if line.startswith("+ ")),
    )


def _spoken(function: str) -> str:
    """`xǁBetsǁpost` is Bets.post, `x_bets` is bets."""
    return function.removeprefix("xǁ").replace("ǁ", ".") if "ǁ" in function else function[2:]


def _source(module: str) -> Path:
    return FOLDER / "controller" / Path(*module.split(".")).with_suffix(".py")


def _mutated(module: str) -> Path:
    return WORK / group_of(module) / "mutants" / _source(module).relative_to(FOLDER)


def _digest(module: str) -> str:
    return hashlib.sha256(_source(module).read_bytes()).hexdigest()[:12]


def _commit() -> str:
    asked = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(
        asked, cwd=FOLDER, check=True, capture_output=True, text=True
    ).stdout.strip()


# Telling


def page(kept: Mapping[str, Any], said: Sequence[Reason]) -> str:
    """The whole page: the table of counts, then each module's survivors."""
    parts = [INTRO, *_counts(kept), "", *_tests(kept), "", "## Survivors", ""]
    parts.append(
        wrapped(
            "Each line that may be changed unseen, what it may be changed to, and why that is right."
        )
    )
    for module, one in sorted(kept.items()):
        lived = [Survivor(**row) for row in one["survivors"]]
        if lived:
            parts += ["", f"### {module}", *_reasoned(module, lived, said)]
    left = [module for module in _of_both_packages() if module not in kept]
    if left:
        parts += ["", "## Not run", "", wrapped(", ".join(f"`{module}`" for module in left) + ".")]
    return "\n".join(parts) + "\n"


def _of_both_packages() -> list[str]:
    return [module for package in ("rollout", "stats") for module in Group(package, ()).modules]


def _counts(kept: Mapping[str, Any]) -> list[str]:
    columns = ("killed", "timed out", "survived", "not reached", "crashed", "not run")
    shown = [name for name in columns if any(one["counts"].get(name) for one in kept.values())]
    rows = [
        [
            module,
            str(sum(one["counts"].values())),
            *(str(one["counts"].get(name, 0)) for name in shown),
            one["commit"],
        ]
        for module, one in sorted(kept.items())
    ]
    sums = [
        "all",
        *(str(sum(int(row[place]) for row in rows)) for place in range(1, 2 + len(shown))),
        "",
    ]
    return table(("module", "mutants", *shown, "on commit"), [*rows, sums])


def _tests(kept: Mapping[str, Any]) -> list[str]:
    """Which tests were run on which modules."""
    lines = ["The tests that were run on each change:", ""]
    for group in GROUPS.values():
        run_on = [f"`{module}`" for module in group.modules if module in kept]
        if run_on:
            lines.append(f"- {', '.join(run_on)}: `{' '.join(group.tests)}`")
    return lines


def _reasoned(module: str, lived: Sequence[Survivor], said: Sequence[Reason]) -> list[str]:
    lines = []
    for reason, group in _by_reason(module, lived, said).items():
        lines += ["", wrapped(reason or "**Not explained.**"), ""]
        lines += [
            f"- `{one.function}`: {_code(one.was)} → {_code(one.now)}{_times(n)}"
            for one, n in group.items()
        ]
    return lines


def _by_reason(
    module: str, lived: Sequence[Survivor], said: Sequence[Reason]
) -> dict[str | None, Counter[Survivor]]:
    groups: dict[str | None, Counter[Survivor]] = {}
    for one in lived:
        groups.setdefault(why(module, one, said), Counter())[one] += 1
    return groups


def _code(text: str) -> str:
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}" if text else "nothing"


def _times(n: int) -> str:
    return f" ({n} times)" if n > 1 else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE")
    parser.add_argument(
        "--again", action="store_true", help="only survivors without a reason, and what was not run"
    )
    parser.add_argument(
        "--at-once", type=int, default=AT_ONCE, metavar="N", help="mutants at a time"
    )
    parser.add_argument(
        "--within", type=float, metavar="S", help="leave out tests that took more seconds"
    )
    parser.add_argument("--none", action="store_true", help="run nothing, write the page")
    asked = parser.parse_args()
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    try:
        wanted = modules(asked.modules)
        if asked.none and asked.modules:
            kept |= {module: told(module) for module in wanted if outcomes(module)}
        for group in GROUPS:
            own = [one for one in wanted if group_of(one) == group]
            if own and not asked.none:
                kept |= _found(
                    group, own, survivors=asked.again, at_once=asked.at_once, within=asked.within
                )
    except LookupError as problem:
        parser.error(str(problem))
    KEPT.write_text(
        json.dumps(kept, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    PAGE.write_text(page(kept, reasons()), encoding="utf-8")


def _found(
    group: str, own: Sequence[str], *, survivors: bool, at_once: int, within: float | None
) -> dict[str, Any]:
    """What is found in these modules. A whole group goes on where it was left; a module is run anew."""
    lay_out(group)
    known = [name for one in own for name in outcomes(one)]
    if survivors and known:
        # One at least: without any mutmut does not see what changed.
        unexplained = [name for one in own for name in _unexplained(one)]
        _run_those(group, unexplained or known[:1], at_once, within)
        # Of functions that changed since
        left = [name for one in own for name in _named(one, {"not run"})]
        _run_those(group, left, at_once, within)
    elif own == GROUPS[group].modules:
        run(group, [], at_once, within)
    else:
        run(group, [f"controller.{module}.*" for module in own], at_once, within)
    return {module: told(module) for module in own}


def _unexplained(module: str) -> Iterator[str]:
    """Mutants that were not run, and survivors that nobody gave a reason for."""
    yield from _named(module, {"not run"})
    lived = _named(module, LIVED)
    said = reasons()
    for name, one in zip(lived, _survivors(module, lived), strict=True):
        if why(module, one, said) is None:
            yield name


def _named(module: str, statuses: Set[str]) -> list[str]:
    return [name for name, code in outcomes(module).items() if _status(code) in statuses]


def _run_those(group: str, names: Sequence[str], at_once: int, within: float | None) -> None:
    for start in range(0, len(names), NAMES):
        run(group, names[start : start + NAMES], at_once, within)


if __name__ == "__main__":
    main()
