from __future__ import annotations

from datetime import date
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import pytest

from controller.errors import DataError
from controller.plans.cost import direction, dollars, per_request, request_usd
from controller.plans.models import parse_models, usd_per_million
from controller.rollout.plan import ModelRef
from tests.plans.factories import MODELS

TABLE = """
as_of = 2026-01-01
sources = {price = "p", limits = "l", shutdown = "s"}
[[model]]
name = "one"
input = 1.0
cached_input = 0.1
output = 2
context_window = 1000
output_limit = 100
"""


def ref(name: str) -> ModelRef:
    facts = MODELS.find(name)
    assert facts is not None
    return facts.ref(name)


def priced(name: str, usd: str) -> ModelRef:
    price = Fraction(usd)
    return ModelRef(
        model=name, price=usd_per_million(input=price, cached_input=price, output=price)
    )


@pytest.mark.parametrize(
    ("name", "usd_per_m", "window", "output_limit", "shutdown"),
    [
        # Prices: the vendor's list as of 2026-11-21; shutdown: openai 3.52.0, ChatModel's docstring.
        ("gpt-4.1", ("2", "0.5", "8"), 1_047_576, 32_768, date(2027, 1, 14)),
        ("gpt-4.1-mini", ("0.4", "0.1", "1.6"), 1_047_576, 32_768, date(2027, 1, 14)),
        ("gpt-4.1-nano", ("0.1", "0.025", "0.4"), 1_047_576, 32_768, date(2026, 10, 23)),
        ("gpt-4o", ("2.5", "1.25", "10"), 128_000, 16_384, date(2027, 1, 14)),
        ("gpt-4o-mini", ("0.15", "0.075", "0.6"), 128_000, 16_384, date(2027, 1, 14)),
    ],
)
def test_the_table_knows_prices_limits_and_shutdown(
    name: str, usd_per_m: tuple[str, str, str], window: int, output_limit: int, shutdown: date
):
    model = MODELS.find(name)

    assert model is not None
    price = model.price
    assert tuple(Fraction(usd) * 1000 for usd in usd_per_m) == (
        price.input,
        price.cached_input,
        price.output,
    )
    assert (model.context_window, model.output_limit) == (window, output_limit)
    assert model.shutdown == shutdown
    assert all(model.sources[what] for what in ("price", "limits", "shutdown"))


def test_the_table_is_dated():
    assert MODELS.as_of == date(2026, 11, 21)


def test_the_shutdown_dates_are_those_of_the_installed_sdk():
    spec = find_spec("openai")  # finds it without importing it, which takes seconds
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).parent / "types" / "shared" / "chat_model.py"
    words = " ".join(source.read_text(encoding="utf-8").split())
    for model in MODELS.models:
        listed = words.split(f'"{model.aliases[0]}"')[-1]
        assert f"Announced shutdown date: {model.shutdown}" in listed[: listed.index("See ") + 4], (
            model.name
        )


@pytest.mark.parametrize(
    "alias", ["gpt-4.1-2025-04-14", "gpt-4o-mini-2024-07-18", "gpt-4o-2024-08-06"]
)
def test_a_dated_snapshot_is_found(alias: str):
    facts = MODELS.find(alias)

    assert facts is not None
    assert alias.startswith(facts.name)


def test_an_unknown_model_is_not_found():
    assert MODELS.find("gpt-4.1-mini-preview") is None


def test_a_model_without_announced_shutdown_has_none():
    assert parse_models(TABLE, file="t").models[0].shutdown is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("as_of = 2026-01-01", ""), "'as_of' is missing"),
        (("output = 2", ""), "'output' is missing"),
        (('shutdown = "s"', 'shutdown = ""'), "does not say where these come from: shutdown"),
        (
            ("context_window = 1000", 'context_window = "big"'),
            "context_window is 'big'; expected int",
        ),
        (('name = "one"', 'name = "one"\naliases = ["one"]'), "given more than once: one"),
        (("[[model]]", "[[model"), "t: "),
    ],
)
def test_a_table_that_is_not_one_is_refused(change: tuple[str, str], message: str):
    with pytest.raises(DataError) as caught:
        parse_models(TABLE.replace(*change), file="t")

    assert message in str(caught.value)


def test_the_reference_request_costs_what_the_issue_says():
    # 5,000 × 0.15 + 1,000 × 0.60 = 1,350 µUSD; 5,000 × 0.40 + 1,000 × 1.60 = 3,600 µUSD
    mini_4o, mini_41 = ref("gpt-4o-mini").price, ref("gpt-4.1-mini").price
    assert mini_4o is not None
    assert mini_41 is not None

    assert dollars(request_usd(mini_4o)) == "$0.00135"
    assert dollars(request_usd(mini_41)) == "$0.0036"


def test_the_direction_of_cost_is_said_in_words():
    assert direction(ref("gpt-4.1-mini"), ref("gpt-4o-mini")) == (
        "gpt-4.1-mini costs 166.7% more than gpt-4o-mini"
    )
    assert (
        direction(ref("gpt-4.1-mini"), ref("gpt-4.1")) == "gpt-4.1-mini costs 80% less than gpt-4.1"
    )
    assert "$0.0036 against $0.018 per request" in per_request(ref("gpt-4.1-mini"), ref("gpt-4.1"))


@pytest.mark.parametrize(
    ("candidate", "baseline", "words"),
    [
        ("1", "1", "new costs the same as old"),
        ("0", "1", "new costs 100% less than old"),
        ("1", "0", "new costs more than old, which is free"),
        ("1", "1000", "new costs 99.9% less than old"),
        ("10.00001", "10", "new costs 0.0001% more than old"),
        ("30", "10", "new costs 200% more than old"),
    ],
)
def test_less_never_exceeds_a_hundred_percent(candidate: str, baseline: str, words: str):
    assert direction(priced("new", candidate), priced("old", baseline)) == words
