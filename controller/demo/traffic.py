"""The application's side: what it asks in which minute, from the seed alone, and how it grades the answers.

A conversation has up to three turns, some minutes apart; a turn after the first carries what was said before, as a
chat does. The application knows the right answers, because it made the questions.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from controller.demo.story import Product

_TURNS: Final = (1, 1, 2, 3)
_GAPS: Final = (1, 2, 4)  # minutes between turns
_REACH: Final = (max(_TURNS) - 1) * max(_GAPS)
_STREAMED: Final = 0.2
_GRADED_AFTER: Final = 8  # minutes, at the longest
_NUMBER: Final = re.compile(r"= (\d+)$")


@dataclass(frozen=True, slots=True)
class Question:
    """One request: the `turn`-th of its conversation. Its key names it in every run of the same seed."""

    unit: str
    turn: int
    model: str
    intent: str
    a: int
    b: int
    stream: bool
    graded_after: int  # minutes

    @property
    def key(self) -> str:
        return f"{self.unit}/{self.turn}"

    @property
    def text(self) -> str:
        return f"{self.unit}.{self.turn} [{self.intent}] {self.a} + {self.b} = ?"

    def body(self) -> bytes:
        messages = [{"role": "system", "content": "Answer with the sum."}]
        for _ in range(self.turn):
            messages += [
                {"role": "user", "content": "An earlier question."},
                {"role": "assistant", "content": "An earlier answer."},
            ]
        messages.append({"role": "user", "content": self.text})
        asked: dict[str, Any] = {"model": self.model, "messages": messages, "temperature": 0}
        if self.stream:
            asked["stream"] = True
        return json.dumps(asked).encode()

    def is_right(self, answer: str) -> bool:
        found = _NUMBER.search(answer)
        return found is not None and int(found[1]) == self.a + self.b


def questions(product: Product, rate: float, minute: int, seed: int) -> Iterator[Question]:
    """Everything that a product asks in a minute, at `rate` new conversations a minute.

    Turns of conversations that began in earlier minutes come on top, as if the rate had been the same then.
    """
    for begun in range(max(0, minute - _REACH), minute + 1):
        yield from _begun_in(product, rate, begun, seed, at=minute)


def _begun_in(
    product: Product, rate: float, begun: int, seed: int, *, at: int
) -> Iterator[Question]:
    draw = random.Random(f"{seed}/{product.name}/{begun}")  # noqa: S311 - seeded on purpose
    for number in range(_poisson(draw, rate)):
        intent = draw.choices(list(product.intents), list(product.intents.values()))[0]
        minute = begun
        for turn in range(draw.choice(_TURNS)):
            question = Question(
                unit=f"{product.name}-{begun}-{number}",
                turn=turn,
                model=product.model,
                intent=intent,
                a=draw.randrange(100, 1000),
                b=draw.randrange(100, 1000),
                stream=draw.random() < _STREAMED,
                graded_after=draw.randint(1, _GRADED_AFTER),
            )
            if minute == at:
                yield question
            minute += draw.choice(_GAPS)


def _poisson(draw: random.Random, mean: float) -> int:
    """A Poisson number, by counting exponential gaps."""
    count, passed = 0, draw.expovariate(1.0)
    while passed < mean:
        count += 1
        passed += draw.expovariate(1.0)
    return count


def text_of(body: bytes, *, stream: bool) -> str:
    """What the model said, of a whole answer or a stream of events."""
    if not stream:
        return str(json.loads(body)["choices"][0]["message"]["content"])
    pieces = []
    for line in body.split(b"\n"):
        if not line.startswith(b"data: {"):
            continue
        choices = json.loads(line[6:])["choices"]
        pieces += [choice["delta"].get("content") or "" for choice in choices]
    return "".join(pieces)
