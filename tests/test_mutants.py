"""The page of mutation testing is what is kept makes it, and nothing that survived goes without a reason."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from benchmarks import mutants_found
from benchmarks.mutants import KEPT
from benchmarks.mutants_found import Survivor, _difference, _function_of, survivors, told
from benchmarks.mutants_groups import GROUPS, modules, of_both_packages
from benchmarks.mutants_page import PAGE, Reason, counts, page, reasons, why


@pytest.fixture(scope="module")
def kept():
    return json.loads(KEPT.read_text(encoding="utf-8"))


def lived(kept) -> list[tuple[str, Survivor]]:
    return [(name, one) for name, each in kept.items() for one in survivors(each)]


def test_the_page_is_written_from_what_is_kept(kept):
    assert PAGE.read_text(encoding="utf-8") == page(kept, reasons())


def test_whatever_survived_has_a_reason(kept):
    said = reasons()

    unexplained = [(name, one) for name, one in lived(kept) if why(name, one, said) is None]

    assert unexplained == []


def test_every_reason_is_of_something_that_survived(kept):
    every = lived(kept)

    idle = [
        (reason.why, one)
        for reason in reasons()
        for one in _each_way(reason)
        if not any(one.holds(*each) for each in every)
    ]

    assert idle == []


def _each_way(reason: Reason) -> list[Reason]:
    """One for each change that it names, and one for what it is like."""
    named = [replace(reason, changes=[change], like="") for change in reason.changes]
    return named + ([replace(reason, changes=[])] if reason.like else [])


def test_what_is_kept_adds_up(kept):
    for name, one in kept.items():
        ended = counts(one)
        assert len(one["survivors"]) == ended["survived"] + ended["not reached"], name


def test_a_group_is_all_of_its_modules_and_what_is_none_is_refused():
    assert "stats.betting" in modules(["stats"])
    assert not any(one.startswith("rollout.") for one in modules(["stats"]))
    assert modules(["rollout.deciding.decide"]) == ["rollout.deciding.decide"]
    with pytest.raises(LookupError, match=r"rollout\.decider: not one of"):
        modules(["rollout.decider"])


def test_every_module_is_in_one_group():
    grouped = [module for group in GROUPS.values() for module in group.modules]

    assert sorted(grouped) == sorted(of_both_packages())


def test_a_reason_holds_for_the_lines_it_names_and_for_no_others():
    one = Survivor(function="decide", was="a < b", now="a <= b")

    assert (
        why("rollout.deciding.decide", one, [Reason(why="so", changes=["a < b → a <= b"])]) == "so"
    )
    assert (
        why("rollout.deciding.decide", one, [Reason(why="so", like=r"(.*) < (.*) → \1 <= \2")])
        == "so"
    )
    assert (
        why("rollout.deciding.decide", one, [Reason(why="so", changes=["a < c → a <= c"])]) is None
    )
    assert why("rollout.deciding.decide", one, [Reason(why="so", like="a < b")]) is None
    elsewhere = Reason(why="so", module="rollout.deciding.stops", changes=["a < b → a <= b"])
    assert why("rollout.deciding.decide", one, [elsewhere]) is None


def test_a_change_is_told_by_its_lines():
    assert _difference(["def _():", "return a + b"], ["def _():", "return a - b"]) == (
        "return a + b",
        "return a - b",
    )
    assert _function_of("controller.a.b.xǁBetsǁ__post_init____mutmut_2") == "Bets.__post_init__"
    assert _function_of("controller.a.b.x_bets__mutmut_12") == "bets"


# What is kept of a module, from one run to the next

MADE = """\
def x_least__mutmut_orig(a, b):
    return a if a < b else b
def x_least__mutmut_1(a, b):
    return a if a <= b else b
def x_least__mutmut_2(a, b):
    return a if a > b else b
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes the text of a module, and mutmut's codes of the mutants of its function `least` where there are any."""
    text = tmp_path / "text.py"
    monkeypatch.setattr(mutants_found, "source", lambda _: text)
    monkeypatch.setattr(mutants_found, "_copied", lambda _: tmp_path / "copied.py")
    monkeypatch.setattr(mutants_found, "_mutated", lambda _: tmp_path / "made.py")

    def write(source, codes=None):
        text.write_text(source, encoding="utf-8")
        if codes is None:
            return
        (tmp_path / "copied.py").write_text(source, encoding="utf-8")
        (tmp_path / "made.py").write_text(MADE, encoding="utf-8")
        spans = {
            f"x_least__mutmut_{one}": (2 * n + 1, 2 * n + 2) for n, one in enumerate(("orig", 1, 2))
        }
        (tmp_path / "made.py.spans").write_text(json.dumps({"spans": spans}), encoding="utf-8")
        names = {f"controller.a.x_least__mutmut_{n}": code for n, code in enumerate(codes, start=1)}
        (tmp_path / "made.py.meta").write_text(
            json.dumps({"exit_code_by_key": names}), encoding="utf-8"
        )

    return write


LEAST = "def least(a, b):\n    return a if a < b else b\n"
OTHER = "def other():\n    return 1\n"


def test_how_the_mutants_of_a_function_ended_is_kept_with_what_survived(module):
    module(LEAST, codes=[0, 1])

    kept = told("a", None)

    assert kept["functions"]["least"]["counts"] == {"killed": 1, "survived": 1}
    assert survivors(kept) == [
        Survivor("least", "return a if a < b else b", "return a if a <= b else b")
    ]
    assert kept["changed"] == []


def test_a_function_that_changed_is_told_as_it_was_and_that_it_changed(module):
    module(LEAST, codes=[0, 1])
    before = told("a", None)

    module(LEAST.replace("a < b", "a <= b") + OTHER)
    after = told("a", before)

    assert after["changed"] == ["least", "other"]
    assert (after["functions"], after["survivors"]) == (before["functions"], before["survivors"])


@pytest.mark.parametrize("codes", [None, [1, None]], ids=["on another machine", "broken off"])
def test_what_was_tried_before_is_kept_until_all_was_tried_anew(module, codes):
    module(LEAST, codes=[0, 1])
    before = told("a", None)

    module("# a remark\n" + LEAST, codes=codes)

    assert told("a", before) == before


def test_a_function_that_is_gone_is_forgotten(module):
    module(LEAST, codes=[0, 1])
    before = told("a", None)

    module(OTHER)

    assert told("a", before) == {"functions": {}, "survivors": [], "changed": ["other"]}
