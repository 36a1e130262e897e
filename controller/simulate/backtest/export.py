"""Every draw of a backtest as CSV, so that a script of ten lines can recompute what a record says.

A window [start, end) of a record holds the draws whose `minute` is in it, with the grades whose `labelled_at` is not
after the record's own moment. `version` tells the strata of one intent apart; `compared` is 0 for what no rule looks
at. An empty `correct` was not graded, and is never labelled; `correct_by_person` is what a person says where one is
asked, at the same moment.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from controller.errors import DataError
from controller.rollout.observation import Cohort
from controller.rollout.timeline import minute_of, start_of
from controller.simulate.backtest.run import Sink
from controller.simulate.backtest.stand_ins import Served

HEADER = (
    "draw",
    "at",
    "minute",
    "unit",
    "intent",
    "item_id",
    "trial",
    "arm",
    "version",
    "share_bp",
    "compared",
    "correct",
    "labelled_at",
    "correct_by_person",
)


@contextmanager
def draws_file(path: Path) -> Iterator[Sink]:
    """A sink that writes to a new file, gzip if its name ends in .gz; DataError if that cannot be."""
    try:
        raw = path.open("wb")
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}.") from error
    with raw, _text(raw, packed=path.suffix == ".gz") as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(HEADER)
        yield lambda served: writer.writerow(row(served))


def row(served: Served) -> tuple[object, ...]:
    """One line of the file; times in ISO 8601, UTC."""
    draw, result = served.draw, served.draw.pair.of(served.arm)
    graded = served.is_labelled
    return (
        draw.number,
        draw.at.isoformat(),
        start_of(minute_of(draw.at)).isoformat(),
        draw.unit,
        result.intent,
        result.item,
        result.trial,
        served.arm.value,
        served.version,
        served.share_bp,
        int(served.cohort is Cohort.COMPARED),
        int(bool(served.answer.correct)) if graded else "",
        draw.labelled_at.isoformat() if graded or served.by_person is not None else "",
        int(served.by_person) if served.by_person is not None else "",
    )


@contextmanager
def _text(raw: IO[bytes], *, packed: bool) -> Iterator[IO[str]]:
    if not packed:
        with io.TextIOWrapper(raw, encoding="utf-8", newline="") as text:
            yield text
        return
    # Without name and time in its header: the same backtest writes the same bytes.
    with (
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as unpacked,
        io.TextIOWrapper(unpacked, encoding="utf-8", newline="") as text,
    ):
        yield text
