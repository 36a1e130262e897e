"""What is not counted yet: nothing is lost, nothing is sent twice in one life, and the disk has a bound."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.gateway import spool as spools
from controller.gateway.spool import Parcel, Spool
from tests.gateway.factories import DISK, full_disk

SIZES = st.integers(1, 60)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), SIZES),
        st.tuples(st.just("deliver"), st.just(0)),
        st.tuples(st.just("fail"), st.just(0)),
        st.tuples(st.just("restart"), st.just(0)),
        st.tuples(st.just("kill"), st.just(0)),
    ),
    max_size=40,
)


def line(number: int, size: int = 20) -> bytes:
    return f"{number:06d}".encode().ljust(size, b".") + b"\n"


def drained(spool: Spool) -> list[bytes]:
    """Everything there is, delivered."""
    lines: list[bytes] = []
    while (parcel := spool.take()) is not None:
        lines += parcel.lines.splitlines(keepends=True)
        spool.strike(parcel)
    return lines


def segments(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.glob("0*.jsonl"))


class Life:
    """A spool that is killed and started again; what was appended, and what was delivered in each life."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._spool = Spool(folder, segment=100)
        self.appended: list[bytes] = []
        self.delivered: list[list[bytes]] = [[]]

    def append(self, size: int) -> None:
        one = line(len(self.appended), size)
        self.appended.append(one)
        self._spool.append(one)

    def deliver(self, _: int = 0) -> None:
        parcel = self._spool.take()
        if parcel is not None:
            self.delivered[-1] += parcel.lines.splitlines(keepends=True)
            self._spool.strike(parcel)

    def fail(self, _: int) -> None:
        self._spool.take()

    def restart(self, _: int) -> None:
        self._spool.close()
        self._begin()

    def kill(self, _: int) -> None:
        """The process ends while it writes a line."""
        with (self._folder / segments(self._folder)[-1]).open("ab") as last:
            last.write(b'{"half": ')
        self._spool.close()
        self._begin()

    def _begin(self) -> None:
        self._spool = Spool(self._folder, segment=100)
        self.delivered.append([])

    def end(self) -> None:
        self.delivered[-1] += drained(self._spool)
        assert self._spool.pending == 0
        assert self._spool.lost == 0
        assert len(segments(self._folder)) == 1
        self._spool.close()


@given(STEPS)
def test_every_line_is_delivered_once_in_a_life_and_at_least_once_over_all_of_them(steps):
    with tempfile.TemporaryDirectory() as folder:
        life = Life(Path(folder))
        for name, size in steps:
            act: Callable[[int], None] = getattr(life, name)
            act(size)
        life.end()

        everything = [one for lived in life.delivered for one in lived]
        assert set(everything) == set(life.appended)
        for lived in life.delivered:
            assert lived == sorted(set(lived))  # in order, and none twice


def test_an_empty_spool_has_nothing_to_take(tmp_path):
    assert Spool(tmp_path).take() is None


def test_what_was_taken_and_not_struck_off_is_taken_again(tmp_path):
    spool = Spool(tmp_path)
    spool.append(line(1))

    first = spool.take()
    spool.append(line(2))

    assert first is not None
    assert drained(spool) == [line(1), line(2)]


def test_a_parcel_is_about_a_batch_of_whole_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(spools, "BATCH", 50)
    spool = Spool(tmp_path)
    for number in range(5):
        spool.append(line(number))

    parcel = spool.take()

    assert parcel == Parcel(line(0) + line(1), tmp_path / "0000000001.jsonl", 42)


def test_a_line_that_is_longer_than_a_batch_is_taken_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(spools, "BATCH", 8)
    spool = Spool(tmp_path)
    spool.append(line(1, size=1_000))
    spool.append(line(2))

    assert drained(spool) == [line(1, size=1_000), line(2)]


def test_the_half_line_of_a_killed_process_is_skipped_and_goes_with_its_segment(tmp_path):
    (tmp_path / "0000000007.jsonl").write_bytes(line(1) + b'{"half"')
    spool = Spool(tmp_path)
    spool.append(line(2))

    assert drained(spool) == [line(1), line(2)]
    assert segments(tmp_path) == ["0000000008.jsonl"]
    assert spool.pending == 0


def test_segments_go_when_they_are_delivered_and_not_before(tmp_path):
    spool = Spool(tmp_path, segment=30)
    for number in range(4):
        spool.append(line(number))
    assert len(segments(tmp_path)) == 2

    parcel = spool.take()
    assert parcel is not None
    assert len(segments(tmp_path)) == 2
    spool.strike(parcel)

    assert len(segments(tmp_path)) == 1


def test_a_large_segment_that_was_delivered_goes_although_it_is_the_only_one(tmp_path, monkeypatch):
    monkeypatch.setattr(spools, "RESENT", 40)
    spool = Spool(tmp_path)
    spool.append(line(1))
    spool.append(line(2))
    drained(spool)
    spool.close()

    assert segments(tmp_path) == []


def test_a_small_segment_that_was_delivered_is_sent_again_after_a_restart(tmp_path):
    spool = Spool(tmp_path)
    spool.append(line(1))
    drained(spool)
    spool.close()

    assert drained(Spool(tmp_path)) == [line(1)]


def test_a_spool_that_was_never_used_leaves_nothing(tmp_path):
    Spool(tmp_path).close()

    assert list(tmp_path.iterdir()) == []


# Bounds


def test_a_full_spool_drops_new_lines_and_counts_them(tmp_path):
    spool = Spool(tmp_path, most=50)
    for number in range(4):
        spool.append(line(number))

    assert (spool.lost, spool.pending) == (2, 42)
    assert drained(spool) == [line(0), line(1)]
    spool.append(line(4))
    assert drained(spool) == [line(4)]


def test_a_spool_that_is_full_from_before_takes_nothing(tmp_path):
    (tmp_path / "0000000001.jsonl").write_bytes(line(1) * 3)

    spool = Spool(tmp_path, most=50)
    spool.append(line(2))

    assert spool.lost == 1


def test_a_full_disk_loses_lines_and_none_of_those_before_and_after(tmp_path):
    spool = Spool(tmp_path)
    written = [line(number, size=1_000) for number in range(DISK // 1_001 + 3)]
    with full_disk():
        for one in written:
            spool.append(one)
    spool.append(line(999_999))

    assert spool.lost == 1  # the one that was cut off: the next had a segment of its own
    assert drained(spool) == [*written[:65], *written[66:], line(999_999)]


def test_where_no_file_can_be_made_lines_are_lost_and_nothing_is_raised(tmp_path):
    spool = Spool(tmp_path, segment=30)
    spool.append(line(1))
    spool.append(line(2))
    (tmp_path / "0000000002.jsonl").mkdir()

    spool.append(line(3))

    assert spool.lost == 1
    assert drained(spool) == [line(1), line(2)]
    (tmp_path / "0000000002.jsonl").rmdir()
    spool.append(line(4))
    assert drained(spool) == [line(4)]


def test_a_line_that_can_never_be_counted_is_put_aside(tmp_path):
    spool = Spool(tmp_path)

    spool.refuse(b"poison", "unknown field")
    spool.refuse(b"another\n", "unknown field")

    assert (tmp_path / "refused.jsonl").read_bytes() == b"poison\nanother\n"
    assert spool.lost == 2


def test_where_it_cannot_be_put_aside_it_is_lost_and_nothing_is_raised(tmp_path):
    spool = Spool(tmp_path)
    (tmp_path / "refused.jsonl").mkdir()

    spool.refuse(b"poison", "unknown field")

    assert spool.lost == 1


# Waiting


def test_whoever_waits_for_lines_is_told(tmp_path):
    async def waits() -> None:
        spool = Spool(tmp_path)
        await spool.emptied()
        waiting = asyncio.create_task(spool.filled())
        await asyncio.sleep(0)
        assert not waiting.done()
        spool.append(line(1))
        await waiting

    asyncio.run(waits())


def test_whoever_waits_for_the_end_of_lines_is_told(tmp_path):
    async def waits() -> None:
        spool = Spool(tmp_path)
        spool.append(line(1))
        waiting = asyncio.create_task(spool.emptied())
        await asyncio.sleep(0)
        assert not waiting.done()
        drained(spool)
        await waiting

    asyncio.run(waits())


@pytest.mark.parametrize("left", [b"", b'{"half"'])
def test_left_overs_without_a_line_are_nothing_to_wait_for(tmp_path, left):
    (tmp_path / "0000000001.jsonl").write_bytes(left)
    spool = Spool(tmp_path)

    assert drained(spool) == []
    asyncio.run(asyncio.wait_for(spool.emptied(), 10))
