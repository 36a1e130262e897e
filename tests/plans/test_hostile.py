"""Thousands of broken plans: each loads or is refused in words, at a place inside the file."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest

from controller.errors import PlanError
from tests.plans.factories import SAMPLES, load

FAST, ALL = 1_000, 20_000

JUNK = (
    "", "~", "null", "on", "yes", "true", "0", "-1", "012", "0x1F", "1e400", ".nan", "-.inf", "1:30", "1_000",
    "9" * 50, "9" * 5_000, "-" + "9" * 400, "1." + "3" * 300, "100.0001%", "-5%", "%", "10 %", "1.5pp", "50 EUR",
    "USD 50", "1d2h3m4s", "P1D", "0s", "99999999999d", "2026-02-30", "2026-12-24T00:00:00", "0001-01-01T00:00:00+14:00",
    "*/0 * * * fri", "0 0 31 2 *", "../../etc/passwd", "Europe/", "[]", "{}", "[[]]", "{a: {}}", "[1, [2, {b: c}]]",
    "'", '"', '"\\x00"', '"\\UFFFFFFFF"', '"\\ud800"', "&a x", "*a", "!!int 3", "!<x> y", "!!python/name:os.system x",
    "|\n x", ">\n\n y", "? a", ": b", "- c", "@d", "`e`", "%f", "# g", "é", "日本", "🦜" * 30, "a\u200bb", "\u202e",
    "\ufeff", "\x07", "\x85", "\u2028", "\ud800", "critical", "each", "named", "gpt-4.1-mini-preview", "custom.x",
    "custom.", "accuracy_delta ", "x" * 3_000, "<<", "=", "...", "---", "%YAML 1.1", "{" * 60, "[" * 200, "\t",
)  # fmt: skip
KEYS = (
    "share", "hold", "spec", "metadata", "rules", "intents", "above", "below", "freeze", "price", "request", "match",
    "<<", "1", "true", "", "node", "\0node", "gate", "shadow", "for", "sla", "timeZone", "cron", "x" * 200,
)  # fmt: skip

Lines = list[str]


def _delete(lines: Lines, rng: random.Random) -> None:
    del lines[rng.randrange(len(lines))]


def _duplicate(lines: Lines, rng: random.Random) -> None:
    lines.insert(rng.randrange(len(lines)), rng.choice(lines))


def _swap(lines: Lines, rng: random.Random) -> None:
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]


def _indent(lines: Lines, rng: random.Random) -> None:
    at = rng.randrange(len(lines))
    lines[at] = (
        rng.choice((" ", "  ", "\t", "      ")) + lines[at] if rng.random() < 0.6 else lines[at][2:]
    )


def _replace_scalar(lines: Lines, rng: random.Random) -> None:
    at = rng.randrange(len(lines))
    values = list(re.finditer(r"(?<=: )[^,{}\[\]#\n]+", lines[at]))
    if values:
        value = rng.choice(values)
        lines[at] = lines[at][: value.start()] + rng.choice(JUNK) + lines[at][value.end() :]


def _replace_key(lines: Lines, rng: random.Random) -> None:
    at = rng.randrange(len(lines))
    keys = list(re.finditer(r"[A-Za-z0-9]+(?=:)", lines[at]))
    if keys:
        key = rng.choice(keys)
        lines[at] = lines[at][: key.start()] + rng.choice(KEYS) + lines[at][key.end() :]


def _splice(lines: Lines, rng: random.Random) -> None:
    at = rng.randrange(len(lines))
    cut = rng.randrange(len(lines[at]) + 1)
    lines[at] = lines[at][:cut] + rng.choice(JUNK) + lines[at][cut:]


def _add_entry(lines: Lines, rng: random.Random) -> None:
    indent = " " * rng.choice((0, 2, 4, 6))
    lines.insert(rng.randrange(len(lines)), f"{indent}{rng.choice(KEYS)}: {rng.choice(JUNK)}")


def _swap_characters(lines: Lines, rng: random.Random) -> None:
    at = rng.randrange(len(lines))
    if len(lines[at]) > 1:
        cut = rng.randrange(len(lines[at]) - 1)
        lines[at] = lines[at][:cut] + lines[at][cut + 1] + lines[at][cut] + lines[at][cut + 2 :]


def _truncate(lines: Lines, rng: random.Random) -> None:
    at = rng.randrange(len(lines))
    lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
    if rng.random() < 0.2:
        del lines[at + 1 :]


MUTATIONS: tuple[Callable[[Lines, random.Random], None], ...] = (
    _delete, _duplicate, _swap, _indent, _replace_scalar, _replace_scalar, _replace_key, _splice, _add_entry,
    _swap_characters, _truncate,
)  # fmt: skip


def mutated(seed: int, originals: list[str]) -> str:
    rng = random.Random(seed)
    lines = rng.choice(originals).splitlines()
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        rng.choice(MUTATIONS)(lines, rng)
        lines = lines or [""]
    return "\n".join(lines) + "\n"


def refused(seeds: range) -> int:
    """How many of the mutated plans are refused; every one of them is either loaded or refused in words."""
    originals = [path.read_text(encoding="utf-8") for path in SAMPLES]
    count = 0
    for seed in seeds:
        text = mutated(seed, originals)
        try:
            load(text)
        except PlanError as error:
            count += 1
            _check_problems(error, text, seed)
    return count


def _check_problems(error: PlanError, text: str, seed: int) -> None:
    assert error.problems, seed
    lines = re.split(r"\r\n|\r|\n", text)
    for problem in error.problems:
        assert 1 <= problem.line <= len(lines), (seed, problem)
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1, (seed, problem)
        assert problem.message.strip(), (seed, problem)
        assert "\n" not in str(problem), (seed, problem)
        assert len(str(problem)) < 1_000, (seed, problem)
        assert not re.search(r"Input should|Traceback|pydantic|\bat 0x", problem.message), (
            seed,
            problem,
        )
    assert list(error.problems) == sorted(error.problems), seed


def test_a_thousand_mutated_plans_are_loaded_or_refused_in_words():
    assert refused(range(FAST)) > FAST // 2


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_twenty_thousand_mutated_plans_are_loaded_or_refused_in_words():
    assert refused(range(ALL)) > ALL // 2
