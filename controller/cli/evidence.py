"""What an auditor verifies: records, plan revisions and anchors, from a database or from an exported file.

An export is JSON lines. The first names the format; then come plans, records (oldest first, by rollout) and anchors,
each as the very text that was hashed, with its hash; the last line counts them, so that a cut file is noticed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from controller.errors import ChainBroken, DataError
from controller.ports import RolloutStore
from controller.rollout.anchors import verify_anchors
from controller.rollout.codec import decode, text_digest
from controller.rollout.deciding.replay import fold
from controller.rollout.plan import Plan
from controller.rollout.record import Anchor, Record, Sealed, verify_chain
from controller.rollout.state import State

FORMAT = "canaryctl-audit/1"
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """How much was verified."""

    rollouts: int
    records: int
    plans: int
    anchors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """`heads` maps a rollout to the hash its chain must end with, `states` to the state it must lead to."""

    records: Mapping[str, Sequence[Sealed[Record]]]
    plans: Mapping[str, Sealed[Plan]]
    anchors: Sequence[Sealed[Anchor]]
    heads: Mapping[str, str] = field(default_factory=dict)
    states: Mapping[str, State] = field(default_factory=dict)

    @property
    def counted(self) -> Counted:
        return Counted(
            rollouts=len(self.records),
            records=sum(len(chain) for chain in self.records.values()),
            plans=len(self.plans),
            anchors=len(self.anchors),
        )


def gather(store: RolloutStore, rollouts: Iterable[str]) -> Evidence:
    """Everything about these rollouts, and all anchors."""
    heads = {rollout: store.head(rollout) for rollout in rollouts}
    records = {rollout: store.records(rollout) for rollout in heads}
    digests = {one.value.plan_digest for chain in records.values() for one in chain}
    return Evidence(
        records=records,
        plans={digest: store.plan(digest) for digest in sorted(digests)},
        anchors=store.anchors(),
        heads={rollout: head.hash for rollout, head in heads.items()},
        states={rollout: head.state for rollout, head in heads.items()},
    )


def broken(evidence: Evidence) -> list[str]:
    """Every contradiction found, one sentence each; none means that the evidence is whole."""
    checks: list[Callable[[], object]] = [
        *(lambda r=rollout: _verify_rollout(evidence, r) for rollout in evidence.records),
        *(lambda d=digest: _verify_plan(evidence, d) for digest in evidence.plans),
        lambda: verify_anchors(evidence.anchors, _record_hash(evidence)),
    ]
    return [found for check in checks if (found := _failure(check)) is not None]


def _failure(check: Callable[[], object]) -> str | None:
    try:
        check()
    except ChainBroken as error:
        return str(error)
    return None


def _verify_rollout(evidence: Evidence, rollout: str) -> None:
    chain = evidence.records[rollout]
    last = verify_chain(chain)
    head = evidence.heads.get(rollout, last)
    if head != last:
        raise ChainBroken(
            f"{rollout}: its records end with {last[:12]}…, but its head is {head[:12]}…: "
            "records were cut off or the head was replaced. Compare with an exported copy."
        )
    state = fold(one.value for one in chain)
    if evidence.states.get(rollout, state) != state:
        raise ChainBroken(
            f"{rollout}: the state it is in is not the one its last record carries: "
            "the state was changed without a record."
        )
    for one in chain:
        if one.value.rollout != rollout:
            raise ChainBroken(f"{rollout}: record {one.value.seq} is of {one.value.rollout}.")
        if one.value.plan_digest not in evidence.plans:
            raise ChainBroken(
                f"{rollout}: record {one.value.seq} was decided under plan revision "
                f"{one.value.plan_digest[:12]}…, which is missing."
            )


def _verify_plan(evidence: Evidence, digest: str) -> None:
    found = text_digest(evidence.plans[digest].text)
    if found != digest:
        raise ChainBroken(
            f"plan revision {digest[:12]}… hashes to {found[:12]}…: it was changed after it was applied. "
            "Compare with an exported copy."
        )


def _record_hash(evidence: Evidence) -> Callable[[str, int], str | None]:
    """The records' hashes; of rollouts that are not part of this evidence, what the anchors themselves say."""
    held = {
        (rollout, one.value.seq): one.hash
        for rollout, chain in evidence.records.items()
        for one in chain
    }
    elsewhere = {}
    for anchor in evidence.anchors:
        for rollout, head in anchor.value.heads.items():
            seq, _, digest = head.partition(":")
            if rollout not in evidence.records:
                elsewhere[rollout, int(seq)] = digest
    return lambda rollout, seq: held.get((rollout, seq)) or elsewhere.get((rollout, seq))


# The exported file


def lines(evidence: Evidence, *, exported_at: str) -> Iterator[str]:
    """The export, line by line."""
    yield _line(kind="header", format=FORMAT, exported_at=exported_at)
    for digest, plan in evidence.plans.items():
        yield _line(kind="plan", digest=digest, hash=plan.hash, text=plan.text)
    for chain in evidence.records.values():
        for one in chain:
            yield _line(
                kind="record",
                rollout=one.value.rollout,
                seq=one.value.seq,
                hash=one.hash,
                text=one.text,
            )
    for anchor in evidence.anchors:
        yield _line(kind="anchor", seq=anchor.value.seq, hash=anchor.hash, text=anchor.text)
    counted = evidence.counted
    yield _line(
        kind="end",
        rollouts=counted.rollouts,
        records=counted.records,
        plans=counted.plans,
        anchors=counted.anchors,
        heads=dict(evidence.heads),
    )


def _line(**fields: object) -> str:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def read(text: Iterable[str], *, file: str) -> Evidence:
    """An export as it was written. DataError if it is no export or was cut; nothing is verified yet."""
    records: dict[str, list[Sealed[Record]]] = {}
    plans: dict[str, Sealed[Plan]] = {}
    anchors: list[Sealed[Anchor]] = []
    end: Mapping[str, Any] | None = None
    for number, raw in enumerate(text, start=1):
        where = f"{file}:{number}"
        entry = _entry(raw, where)
        if (number == 1) != (entry.get("kind") == "header"):
            raise DataError(f"{where}: expected an export that begins with its header, {FORMAT}")
        match entry["kind"]:
            case "header" if entry.get("format") != FORMAT:
                raise DataError(f"{where}: format is {entry.get('format')!r}, expected {FORMAT}")
            case "header":
                pass
            case "plan":
                plans[entry["digest"]] = _sealed(Plan, entry, where)
            case "record":
                records.setdefault(entry["rollout"], []).append(_sealed(Record, entry, where))
            case "anchor":
                anchors.append(_sealed(Anchor, entry, where))
            case "end":
                end = entry
            case other:
                raise DataError(f"{where}: unknown kind {other!r}")
    if end is None:
        raise DataError(f"{file}: its last line is missing: the export was cut. Export it again.")
    evidence = Evidence(records=records, plans=plans, anchors=anchors, heads=end["heads"])
    _require_counts(evidence, end, file)
    return evidence


def _entry(raw: str, where: str) -> dict[str, Any]:
    try:
        entry = json.loads(raw)
    except ValueError as error:
        raise DataError(f"{where}: not JSON: {error}") from error
    if not isinstance(entry, dict) or "kind" not in entry:
        raise DataError(f"{where}: expected an object with a kind")
    return entry


def _sealed(kind: type[T], entry: Mapping[str, Any], where: str) -> Sealed[T]:
    try:
        value = decode(kind, json.loads(entry["text"]))
        return Sealed(value=value, text=entry["text"], hash=entry["hash"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{where}: cannot be read as a {entry['kind']}: {error!r}") from error


def _require_counts(evidence: Evidence, end: Mapping[str, Any], file: str) -> None:
    counted = evidence.counted
    for what in ("rollouts", "records", "plans", "anchors"):
        have, said = getattr(counted, what), end.get(what)
        if have != said:
            raise DataError(
                f"{file}: {have} {what}, but its last line counts {said}: lines were lost or added. Export it again."
            )
