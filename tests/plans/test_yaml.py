"""What YAML can do to a plan's author, and what is said then."""

from __future__ import annotations

import pytest

from tests.plans.factories import plan_text, problem, problems


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("", (1, 1), "empty; expected a plan"),
        ("# only a comment\n", (1, 1), "empty; expected a plan"),
        ("---\n---\n", (1, 1), "empty; expected a plan"),
        ("- a\n- b\n", (1, 1), "expected a plan (an object with apiVersion, kind …), found a list"),
        ("just words", (1, 1), "found `just words`"),
        ("a: [b", (1, 6), "closing bracket"),
        ("a: 'b", (1, 6), "quoted text that starts before is not closed"),
        ("a: b: c", (1, 5), "a `:` where no key can stand"),
        ("a:\n\tb: c", (2, 1), "a tab; YAML is indented"),
        ("a: @b", (1, 4), "cannot start a value; quote the text"),
        ("a: b\x00", (1, 5), "control character U+0000"),
        ("a: b\n# \u202e", (2, 3), "control character U+202E"),
        ("a: \ud800", (1, 4), "character U+D800"),
        ('a: "\\UFFFFFFFF"', (1, 1), "not readable as YAML"),
        ("a: " + "[" * 5_000, (1, 43), "nested deeper than 40 levels"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_a_file_that_is_no_plan_is_one_problem(text: str, place: tuple[int, int], message: str):
    found = problem(text)

    assert message in found.message
    assert (found.line, found.column) == place


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  holdback: 1%", "  holdback: 1%\n  holdback: 2%", "duplicate key `holdback`, first given at 22:3"),
        ("share: 10%,", "share: 10%, share: 20%,", "duplicate key `share`, first given at 18:8"),
        ("bake: 7d", "bake: &week 7d", "anchors (`&week`) are not used in plans"),
        ("bake: 7d", "bake: *week", "aliases (`*week`) are not used in plans; write the value out"),
        ("bake: 7d", "bake: !!str 7d", "tags (`tag:yaml.org,2002:str`) are not used"),
        ("bake: 7d", "<<: {bake: 7d}", "merge keys (`<<`) are not used"),
        ("bake: 7d", "? [a, b]\n  : c\n  bake: 7d", "a key must be plain text"),
        ("apiVersion:", "%YAML 1.1\n---\napiVersion:", "a plan is YAML 1.2: remove the line"),
    ],
)  # fmt: skip
def test_a_feature_of_yaml_that_surprises_is_refused(old: str, new: str, message: str):
    found = problem(plan_text((old, new)))

    assert message in found.message


def test_keys_that_are_objects_cannot_nest_without_end_either():
    assert "nested deeper than 40 levels" in problems("? " * 5_000)[-1].message


def test_more_than_a_mebibyte_is_refused():
    assert "more than 1 MiB" in problem("a: b\n" * 300_000).message


def test_very_many_values_are_refused():
    assert "more than 10,000 values" in problem("a: [" + "1," * 12_000 + "]").message


def test_an_alias_bomb_stays_small():
    bomb = "a: &a [x,x]\n" + "".join(f"b{i}: &b{i} [*a,*a,*a]\n" for i in range(30))

    assert any("aliases" in one.message for one in problems(bomb))


def test_digits_without_end_are_refused():
    found = problem(plan_text(("minSamples: 500", f"minSamples: {'9' * 10_000}")))

    assert "is not a count" in found.message
    assert len(found.message) < 200
