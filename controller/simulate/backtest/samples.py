"""The made recording `rollout_plans/samples/made-results.csv.gz`.

`python -m controller.simulate.backtest.samples` writes it.

Nobody measured these figures. They are drawn from the chances below by one seed, to have something to rehearse with:
a candidate that is as good on `order-status` and `returns`, clearly worse on `refund`, quicker, and cheaper.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SEED = 20_260_105
FILE = Path("rollout_plans/samples/made-results.csv.gz")
SOURCE = "made"
ITEMS_PER_INTENT = 300
HEADER = (
    "source",
    "intent",
    "item_id",
    "trial",
    "model",
    "correct",
    "prompt_tokens",
    "completion_tokens",
    "cost_usd",
    "latency_s",
    "refused",
    "error",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One intent. Of its items, `hard` beat both models; of the others, each model misses its own share."""

    intent: str
    hard: float
    baseline_misses: float
    candidate_misses: float
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """List price in USD per million tokens; latency is `first_s` and `per_token_s` for each token of the answer."""

    name: str
    usd_per_million_in: float
    usd_per_million_out: float
    first_s: float
    per_token_s: float
    refuses: float


KINDS = (
    Kind(
        intent="refund",
        hard=0.03,
        baseline_misses=0.02,
        candidate_misses=0.10,
        prompt_tokens=1_400,
        completion_tokens=180,
    ),
    Kind(
        intent="order-status",
        hard=0.02,
        baseline_misses=0.02,
        candidate_misses=0.02,
        prompt_tokens=900,
        completion_tokens=90,
    ),
    Kind(
        intent="returns",
        hard=0.03,
        baseline_misses=0.03,
        candidate_misses=0.03,
        prompt_tokens=1_100,
        completion_tokens=140,
    ),
)
BASELINE = Model(
    name="gpt-4.1",
    usd_per_million_in=2.0,
    usd_per_million_out=8.0,
    first_s=0.6,
    per_token_s=0.012,
    refuses=0.002,
)
CANDIDATE = Model(
    name="gpt-4.1-mini",
    usd_per_million_in=0.4,
    usd_per_million_out=1.6,
    first_s=0.5,
    per_token_s=0.010,
    refuses=0.008,
)


def made_csv(seed: int = SEED) -> str:
    """The sample as CSV; the same text for the same seed."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(_rows(np.random.default_rng(seed)))
    return text.getvalue()


def packed(text: str) -> bytes:
    """Gzip without name and time, so that the same text is the same file."""
    return gzip.compress(text.encode(), compresslevel=9, mtime=0)


def _rows(random: np.random.Generator) -> Iterator[tuple[object, ...]]:
    for kind in KINDS:
        for index in range(ITEMS_PER_INTENT):
            yield from _item(kind, f"{kind.intent}-{index:03}", random)


def _item(kind: Kind, item: str, random: np.random.Generator) -> Iterator[tuple[object, ...]]:
    hard = random.random() < kind.hard
    prompt = round(kind.prompt_tokens * math.exp(random.normal(0, 0.2)))
    for model, misses in ((BASELINE, kind.baseline_misses), (CANDIDATE, kind.candidate_misses)):
        refused = random.random() < model.refuses
        correct = not (hard or refused or random.random() < misses)
        answer = round(kind.completion_tokens * math.exp(random.normal(0, 0.3)))
        cost = prompt * model.usd_per_million_in + answer * model.usd_per_million_out
        latency = (model.first_s + answer * model.per_token_s) * math.exp(random.normal(0, 0.25))
        yield (
            *(SOURCE, kind.intent, item, 1, model.name, int(correct)),
            *(prompt, answer, f"{cost / 1e6:.6f}", f"{latency:.3f}", int(refused), ""),
        )


if __name__ == "__main__":
    FILE.write_bytes(packed(made_csv()))
