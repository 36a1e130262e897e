"""Recorded results: the same items answered by several models, one row per model, item and trial.

The columns are those of `docs/recorded-results.md`. An empty cell means that the source does not say: unknown,
never 0. Only the column `error` is otherwise: where it exists, an empty cell says that there was none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from math import fsum
from pathlib import Path

from controller.errors import DataError
from controller.rollout.plan import Arm, Plan
from controller.simulate.backtest.tables import (
    CellError,
    Table,
    convert,
    maybe_meant,
    number,
    parse_table,
    raise_problems,
    read_text,
)

REQUIRED = ("source", "intent", "item_id", "trial", "model", "correct")
_FLAG = {"0": False, "1": True, "": None}
_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One model's answer to one item in one trial, graded. None is unknown.

    Where the file says what people find too (`by_person`), `correct` is a judge's word.
    """

    source: str
    intent: str
    item: str
    trial: int
    model: str
    correct: bool | None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost_usd: float | None = None
    latency_s: float | None = None
    refused: bool | None = None
    failed: bool | None = (
        None  # whether the call itself failed; None where the file has no column `error`
    )
    by_person: bool | None = None

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What the two models' rows of one pair have in common."""
        return (self.source, self.intent, self.item, self.trial)


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """All rows of one file, in its order; no model has two rows for one item and trial."""

    file: str
    rows: tuple[Result, ...]

    @property
    def models(self) -> Mapping[str, int]:
        """Rows per model, in the order of the file."""
        return Counter(row.model for row in self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultPair:
    """One item in one trial, answered by both models."""

    baseline: Result
    candidate: Result

    def of(self, arm: Arm) -> Result:
        return self.baseline if arm is Arm.BASELINE else self.candidate

    @property
    def has_people(self) -> bool:
        """Whether people have graded both answers."""
        return all(one.by_person is not None for one in (self.baseline, self.candidate))

    @property
    def by_people(self) -> ResultPair:
        """The same with people's grades instead of the judge's."""
        return ResultPair(
            baseline=replace(self.baseline, correct=self.baseline.by_person),
            candidate=replace(self.candidate, correct=self.candidate.by_person),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One question with every trial that both models answered."""

    intent: str
    name: str
    pairs: tuple[ResultPair, ...]

    @property
    def grades(self) -> tuple[float, float] | None:
        """Mean grade of the baseline and of the candidate, over the runs where both are known; None: over none."""
        graded = [
            (pair.baseline.correct, pair.candidate.correct)
            for pair in self.pairs
            if pair.baseline.correct is not None and pair.candidate.correct is not None
        ]
        if not graded:
            return None
        baseline, candidate = (sum(column) / len(graded) for column in zip(*graded, strict=True))
        return baseline, candidate

    @property
    def graded(self) -> float:
        """The part of its answers whose grade is known."""
        answers = [one.correct for pair in self.pairs for one in (pair.baseline, pair.candidate)]
        return sum(correct is not None for correct in answers) / len(answers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Two models' results on the same items. At least one pair."""

    file: str
    baseline: str  # as the file calls it
    candidate: str
    items: tuple[Item, ...]
    unpaired: int  # rows of the two models that have no partner
    left_out: int = 0  # pairs of which people have not graded both answers, where they have to

    @property
    def pairs(self) -> tuple[ResultPair, ...]:
        return tuple(pair for item in self.items for pair in item.pairs)

    @property
    def graded(self) -> float:
        """The part of the answers whose grade is known, each item weighing the same."""
        return fsum(item.graded for item in self.items) / len(self.items)

    @property
    def has_people(self) -> bool:
        """Whether people have graded both answers of every pair."""
        return all(pair.has_people for pair in self.pairs)

    @property
    def by_people(self) -> Recording:
        """The same with people's grades instead of the judge's."""
        return replace(self, items=_items(pair.by_people for pair in self.pairs))

    @property
    def repeats(self) -> bool:
        """Whether some item was run several times."""
        return any(len(item.pairs) > 1 for item in self.items)

    @property
    def intents(self) -> tuple[str, ...]:
        """In the order of the file."""
        return tuple(dict.fromkeys(item.intent for item in self.items))


def read_results(path: Path) -> Results:
    """The results in a file; DataError with what is wrong, at file:line, the first 20 at once."""
    return parse_results(read_text(path), file=str(path))


def parse_results(text: str, *, file: str) -> Results:
    """The results in a CSV text; `file` is its name in messages."""
    table = parse_table(text, file=file, required=REQUIRED)
    rows = convert(table, partial(_result, has_errors="error" in table.header))
    _refuse_repeats(table, rows)
    return Results(file=file, rows=tuple(row for _, row in rows))


def pair_up(results: Results, *, baseline: str, candidate: str) -> Recording:
    """The two models' rows side by side; DataError if one of them, or every pair, is missing.

    A model is found by its name in the file, or by that name without its provider and date:
    `openai/gpt-4.1-2025-04-14` in the file is the plan's `gpt-4.1`, if nothing else is.
    """
    names = (_recorded_name(results, baseline), _recorded_name(results, candidate))
    if names[0] == names[1]:
        raise DataError(f"{results.file}: baseline and candidate are both {names[0]!r}.")
    of_baseline, of_candidate = (
        {row.key: row for row in results.rows if row.model == name} for name in names
    )
    shared = [key for key in of_baseline if key in of_candidate]
    if not shared:
        raise DataError(
            f"{results.file}: {names[0]} and {names[1]} have no item and trial in common, "
            "so there is nothing to compare."
        )
    pairs = (ResultPair(baseline=of_baseline[key], candidate=of_candidate[key]) for key in shared)
    return Recording(
        file=results.file,
        baseline=names[0],
        candidate=names[1],
        items=_items(pairs),
        unpaired=len(of_baseline) + len(of_candidate) - 2 * len(shared),
    )


def in_common(recordings: Sequence[Recording]) -> tuple[Recording, ...]:
    """The recordings with only those pairs that all of them have, so that one draw asks the same of each.

    They are of one file, and may be of different models. DataError if nothing is left.
    """
    shared = set.intersection(*({pair.baseline.key for pair in one.pairs} for one in recordings))
    if not shared:
        models = ", ".join(f"{one.baseline} → {one.candidate}" for one in recordings)
        raise DataError(
            f"{recordings[0].file}: {models} have no item and trial in common, so they cannot be compared."
        )
    return tuple(_only(one, shared) for one in recordings)


def graded_as_planned(recording: Recording, plan: Plan) -> Recording:
    """What of a recording has the grades that a plan goes by: where people grade beside a judge, the pairs of which
    they have graded both answers. DataError if there are none.
    """
    if not plan.labels.people_u:
        return recording
    kept = {pair.baseline.key for pair in recording.pairs if pair.has_people}
    if not kept:
        raise DataError(
            f"{recording.file}: people grade beside a judge in {plan.name} (labels.people), and no pair has their "
            "grades of both answers (column correct_by_person), so no loss would ever be proven to be small. Add them; "
            "`correct` is then the judge's. Or leave `people` out to see what one grade does; `canaryctl simulate` "
            "needs no recording."
        )
    left_out = len(recording.pairs) - len(kept)
    found = _only(recording, kept)
    return replace(found, unpaired=recording.unpaired, left_out=left_out)


def _only(recording: Recording, keys: Set[tuple[str, str, str, int]]) -> Recording:
    kept = tuple(pair for pair in recording.pairs if pair.baseline.key in keys)
    lost = len(recording.pairs) - len(kept)
    return replace(recording, items=_items(kept), unpaired=recording.unpaired + 2 * lost)


def _result(row: Mapping[str, str], *, has_errors: bool) -> Result:
    blank = [name for name in ("intent", "item_id", "model") if not row[name]]
    if blank:
        raise CellError(f"{blank[0]} is empty; wanted a value.")
    trial = number(row, "trial", int, wanted="a trial number from 1", least=1)
    if trial is None:
        raise CellError("trial is empty; wanted a number from 1.")
    tokens = "a whole number of tokens"
    return Result(
        source=row["source"],
        intent=row["intent"],
        item=row["item_id"],
        trial=trial,
        model=row["model"],
        correct=_flag(row, "correct"),
        prompt_tokens=number(row, "prompt_tokens", int, wanted=tokens),
        completion_tokens=number(row, "completion_tokens", int, wanted=tokens),
        cost_usd=number(row, "cost_usd", float, wanted="an amount of US dollars, not negative"),
        latency_s=number(row, "latency_s", float, wanted="seconds, not negative"),
        refused=_flag(row, "refused"),
        failed=bool(row["error"]) if has_errors else None,
        by_person=_flag(row, "correct_by_person"),
    )


def _flag(row: Mapping[str, str], column: str) -> bool | None:
    text = row.get(column, "")
    if text not in _FLAG:
        raise CellError(f"{column} is {text!r}; wanted 0, 1 or nothing.")
    return _FLAG[text]


def _refuse_repeats(table: Table, rows: Sequence[tuple[int, Result]]) -> None:
    first: dict[tuple[object, ...], int] = {}
    problems = []
    for line, row in rows:
        seen = first.setdefault((*row.key, row.model), line)
        if seen != line:
            problems.append(
                f"{table.file}:{line}: {row.model} on {row.item}, trial {row.trial}, again; "
                f"line {seen} has it already."
            )
    raise_problems(problems)


def _recorded_name(results: Results, model: str) -> str:
    if model in results.models:
        return model
    same = [name for name in results.models if _family(name) == _family(model)]
    if len(same) == 1:
        return same[0]
    if same:
        raise DataError(
            f"{results.file}: {', '.join(same)} could each be the plan's {model!r}; name one of them in the plan."
        )
    listed = ", ".join(f"{name} ({count:,})" for name, count in results.models.items())
    raise DataError(
        f"{results.file}: no rows of the plan's model {model!r}"
        f"{maybe_meant(model, results.models)}. Rows per model: {listed}."
    )


def _family(model: str) -> str:
    """A model's name without provider and snapshot date."""
    return _SNAPSHOT.sub("", model.rpartition("/")[2])


def _items(pairs: Iterable[ResultPair]) -> tuple[Item, ...]:
    grouped: dict[tuple[str, str, str], list[ResultPair]] = {}
    for pair in pairs:
        grouped.setdefault(pair.baseline.key[:3], []).append(pair)
    return tuple(
        Item(intent=intent, name=name, pairs=tuple(of_item))
        for (_, intent, name), of_item in grouped.items()
    )
