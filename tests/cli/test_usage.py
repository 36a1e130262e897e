"""A command line that is not understood: one line that says where, what was found, what was wanted and what to do."""

from __future__ import annotations

import pytest

CHECK = " `canaryctl check -h` explains it.\n"
DAY = "--units-per-day"
NUMBER = "a number from 1 to 10,000,000."


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("check",), "PLAN: found none; wanted plan files, directories, or - for stdin." + CHECK),
        (("check", "p", "--unit-per-day"), f"(did you mean `{DAY}`?)." + CHECK),
        (("check", "p", DAY), f"{DAY}: found no value; wanted N: mean number of units a day."),
        (("check", "p", DAY, "0"), f"{DAY}: found `0`; wanted {NUMBER}" + CHECK),
        (("check", "p", DAY, "x\n\x1b[2J"), f"{DAY}: found `x··[2J`; wanted {NUMBER}" + CHECK),
        (("check", "p", DAY, "nan"), f"{DAY}: found `nan`; wanted {NUMBER}"),
        (("check", "p", "--pairs", "1.5"), "found `1.5`; wanted a whole number from 0 to 1,000"),
        (("check", "p", "--pairs", "9" * 400), f"--pairs: found `{'9' * 40}…`; wanted a whole"),
        (("check", "p", "--seed", "-1"), "found `-1`; wanted a whole number of at least 0."),
        (("check", "p", "-o", "xml"), "found `xml`; wanted table, wide, json, yaml or name."),
        (("check", "p", "-o"), "-o: found no value; wanted table, wide, json, yaml or name."),
        (("check", "p", "--history=x"), "option '--history' does not take a value."),
        (("simulate", "p", "--start", "today"), "`today`; wanted a day such as 2026-11-29."),
        (("resume", "x"), "--reason: found none; wanted TEXT: why; required, kept in the record."),
        (("watch", "x", "--until", "lunch"), "--until: 'lunch' is not a phase: pending, "),
        (("describe", "a", "b"), "canaryctl describe: got unexpected extra argument(s) (b)."),
        (("audit", "verify", "x", "--file", "y"), "verified as a whole; leave NAME out."),
        (("chek",), "chek: canaryctl has no such command (did you mean `check`?). `canaryctl -h`"),
        (("audit", "vrify"), "vrify: canaryctl audit has no such command (did you mean `verify`?)"),
        (("audit", "--verify"), "--verify: canaryctl audit has no such option"),
    ],
)
def test_what_is_not_understood_is_told_in_one_line(world, arguments, said):
    answer = world.cli(*arguments)

    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
    assert answer.err.endswith(" explains it.\n")
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize("arguments", [(), ("audit",)])
def test_a_group_without_a_command_explains_itself(world, arguments):
    answer = world.cli(*arguments)

    assert answer.code == 2
    assert "Usage: canaryctl" in answer.err
