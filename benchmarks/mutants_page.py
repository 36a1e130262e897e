"""docs/mutation.md from what is kept of each module: counts, survivors and why they may live."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.mutants_found import Kept, Survivor, survivors
from benchmarks.mutants_groups import GROUPS, of_both_packages
from benchmarks.write import FOLDER, table, wrapped

PAGE: Final = FOLDER / "docs" / "mutation.md"
REASONS: Final = FOLDER / "benchmarks" / "mutants.toml"
_COLUMNS: Final = ("killed", "timed out", "survived", "not reached", "crashed")

INTRO: Final = """\
# Mutation testing

`python -m benchmarks.mutants` writes this page (CONTRIBUTING.md says how to set it up). One operator, number, word or
argument of a function is changed at a time, and the tests that are about its module are run on the result. *Killed*: a
test failed. *Timed out*: a test did not end, which is noticed too. *Survived*: every test passed, so either a test is
missing or the change is none: each is listed below with the reason why it may live.

Each count is of the last time that a function was tried. Those that have changed since, or were never tried, are listed
below as not run, until the next run tries them. A survivor with a reason may have been tried on the quickest of its
tests only.

mutmut changes nothing outside of functions (constants, defaults of fields), nothing below a decorator other than
`staticmethod` and `classmethod` (properties, cached functions), and here neither the wording of errors that are raised
nor `assert_never`. A module with no mutants has nothing else: types, with a property at most.
"""


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


def page(kept: Mapping[str, Kept], said: Sequence[Reason]) -> str:
    """The whole page: the table of counts, what is not run, then each module's survivors."""
    parts = [INTRO, *_counts(kept), "", *_tests(kept), *_not_run(kept), "", "## Survivors", ""]
    parts.append(
        wrapped(
            "Each line that may be changed unseen, what it may be changed to, and why that is right."
        )
    )
    for module, one in sorted(kept.items()):
        lived = survivors(one)
        if lived:
            parts += ["", f"### {module}", *_reasoned(module, lived, said)]
    return "\n".join(parts) + "\n"


def _not_run(kept: Mapping[str, Kept]) -> list[str]:
    left = [f"`{module}`" for module in of_both_packages() if module not in kept]
    left += [
        f"`{module}`: {', '.join(f'`{name}`' for name in one['changed'])}"
        for module, one in sorted(kept.items())
        if one["changed"]
    ]
    return ["", "## Not run", "", *(wrapped(f"- {one}") for one in left)] if left else []


def _counts(kept: Mapping[str, Kept]) -> list[str]:
    sums = {module: counts(one) for module, one in sorted(kept.items())}
    every = sum(sums.values(), Counter[str]())
    shown = [name for name in _COLUMNS if every[name]]
    rows = [
        [module, *(str(count) for count in (one.total(), *(one[name] for name in shown)))]
        for module, one in [*sums.items(), ("all", every)]
    ]
    return table(("module", "mutants", *shown), rows)


def counts(kept: Kept) -> Counter[str]:
    """How many mutants of a module ended how."""
    return sum((Counter(one["counts"]) for one in kept["functions"].values()), Counter[str]())


def _tests(kept: Mapping[str, Kept]) -> list[str]:
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
