"""The plans that a command line names: files, directories, standard input; several documents in each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TextIO

from controller.errors import PlanError, Problem
from controller.plans.load import decode, load_all, read_file
from controller.plans.models import bundled_models
from controller.rollout.plan import Plan

STDIN = "-"
SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A plan and the file that it was read from."""

    plan: Plan
    file: str


def read_plans(paths: Sequence[str], *, stdin: TextIO, today: date) -> list[Source]:
    """Every plan of every path, in the order given. PlanError with all problems of all files at once."""
    sources: list[Source] = []
    problems: list[Problem] = []
    models = bundled_models()
    for path in paths:
        try:
            for file, text in _texts(path, stdin):
                plans = load_all(text, file=file, today=today, models=models)
                sources += [Source(plan=plan, file=file) for plan in plans]
        except PlanError as error:
            problems += error.problems
    problems += _twice(sources)
    if problems:
        raise PlanError(tuple(problems))
    return sources


def _texts(path: str, stdin: TextIO) -> Iterator[tuple[str, str]]:
    if path == STDIN:
        yield "<stdin>", decode(stdin.buffer.read(), file="<stdin>")
        return
    place = Path(path)
    if not place.is_dir():
        yield path, read_file(place)
        return
    files = sorted(one for one in place.iterdir() if one.suffix in SUFFIXES and one.is_file())
    if not files:
        raise PlanError((_problem(path, "a directory without any .yaml or .yml file"),))
    for file in files:
        yield str(file), read_file(file)


def _twice(sources: Sequence[Source]) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for source in sources:
        name = source.plan.name
        if name in first:
            yield _problem(source.file, f"{name} is already the plan of {first[name]}; rename one")
        first.setdefault(name, source.file)


def _problem(file: str, message: str) -> Problem:
    return Problem(file=file, line=1, column=1, path="", message=message)
