"""The page of mutation testing is what is kept makes it, and nothing that survived goes without a reason."""

from __future__ import annotations

import json

import pytest

from benchmarks.mutants import (
    GROUPS,
    KEPT,
    PAGE,
    Reason,
    Survivor,
    _difference,
    _of_both_packages,
    _spoken,
    modules,
    page,
    reasons,
    why,
)


@pytest.fixture(scope="module")
def kept():
    return json.loads(KEPT.read_text(encoding="utf-8"))


def survivors(kept) -> list[tuple[str, Survivor]]:
    return [(name, Survivor(**row)) for name, one in kept.items() for row in one["survivors"]]


def test_the_page_is_written_from_what_is_kept(kept):
    assert PAGE.read_text(encoding="utf-8") == page(kept, reasons())


def test_whatever_survived_has_a_reason(kept):
    said = reasons()

    unexplained = [(name, one) for name, one in survivors(kept) if why(name, one, said) is None]

    assert unexplained == []


def test_every_reason_is_of_something_that_survived(kept):
    lived = survivors(kept)

    idle = [one.why for one in reasons() if not any(one.holds(*each) for each in lived)]

    assert idle == []


def test_what_is_kept_adds_up(kept):
    for name, one in kept.items():
        counts = one["counts"]
        lived = counts.get("survived", 0) + counts.get("not reached", 0)
        assert len(one["survivors"]) == lived, name


def test_a_group_is_all_of_its_modules_and_what_is_none_is_refused():
    assert "stats.betting" in modules(["stats"])
    assert not any(one.startswith("rollout.") for one in modules(["stats"]))
    assert modules(["rollout.decide"]) == ["rollout.decide"]
    with pytest.raises(LookupError, match=r"rollout\.decider: not one of"):
        modules(["rollout.decider"])


def test_every_module_is_in_one_group():
    grouped = [module for group in GROUPS.values() for module in group.modules]

    assert sorted(grouped) == sorted(_of_both_packages())


def test_a_reason_holds_for_the_lines_it_names_and_for_no_others():
    one = Survivor(function="decide", was="a < b", now="a <= b")

    assert why("rollout.decide", one, [Reason(why="so", changes=["a < b → a <= b"])]) == "so"
    assert why("rollout.decide", one, [Reason(why="so", like=r"(.*) < (.*) → \1 <= \2")]) == "so"
    assert why("rollout.decide", one, [Reason(why="so", changes=["a < c → a <= c"])]) is None
    assert why("rollout.decide", one, [Reason(why="so", like="a < b")]) is None
    elsewhere = Reason(why="so", module="rollout.stops", changes=["a < b → a <= b"])
    assert why("rollout.decide", one, [elsewhere]) is None


def test_a_change_is_told_by_its_lines():
    assert _difference(["def _():", "return a + b"], ["def _():", "return a - b"]) == (
        "return a + b",
        "return a - b",
    )
    assert _spoken("xǁBetsǁ__post_init__") == "Bets.__post_init__"
    assert _spoken("x_bets") == "bets"
