"""Which tests are run on the mutants of which modules, and mutmut's settings, for `benchmarks.mutants`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.write import FOLDER


@dataclass(frozen=True, slots=True)
class Group:
    """Modules of one package that the same tests are about, by their own names. No names: all of the package."""

    package: str
    tests: Sequence[str]
    names: Sequence[str] = ()

    @property
    def modules(self) -> list[str]:
        every = {module.rpartition(".")[2]: module for module in modules_of(self.package)}
        return [every[name] for name in self.names] if self.names else list(every.values())


def modules_of(package: str) -> list[str]:
    """Every module of a package and of the packages in it, as `rollout.evidence.proofs`."""
    controller = FOLDER / "controller"
    paths = sorted((controller / package).rglob("*.py"))
    return [
        ".".join(path.relative_to(controller).with_suffix("").parts)
        for path in paths
        if path.stem != "__init__"
    ]


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
                    *("exactly_on_the_limit", "remembered"),
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
                    *("against", "powered", "spending_proofs"),
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
            for name in (
                *("view", "looks", "metrics_by_hand", "spike", "starts", "readings"),
                "exactly_on_the_limit",
            )
        ],
        ("looks", "view", "availability"),
    ),
    "sums": Group(
        "rollout",
        [
            f"tests/rollout/test_{name}.py"
            for name in (
                *("sums", "tallies", "readings", "metrics_by_hand", "coverage_edges", "spike"),
                *("percentile_proofs", "ratio_proofs", "below_proofs", "exactly_on_the_limit"),
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
        (*("account", "blocks", "people", "items", "deltas"),),
    ),
    # Proofs that are a product over stretches of both arms or of bills and grades.
    "stretches": Group(
        "rollout",
        [
            f"tests/rollout/test_{name}.py"
            for name in (
                *("powered", "needs_of_people", "spending_proofs", "ratio_proofs", "remembered"),
            )
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


def of_both_packages() -> list[str]:
    return [module for package in ("rollout", "stats") for module in modules_of(package)]


def source(module: str) -> Path:
    return FOLDER / "controller" / Path(*module.split(".")).with_suffix(".py")
