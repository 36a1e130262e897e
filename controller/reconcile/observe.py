"""Reading the world into a `Seen`: rollups into tallies, stretches in force, baseline, freezes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from controller.ports import Sight, Standing, Store, VerifiedStretch
from controller.reconcile.freeze import active_freeze
from controller.rollout.counting.columns import at
from controller.rollout.counting.tallies import Tallies
from controller.rollout.evidence.caps import cost_caps
from controller.rollout.evidence.comparison import (
    LEAST,
    Frozen,
    compared,
    frozen_buckets,
    reference_key,
)
from controller.rollout.evidence.coverage import coverage_between
from controller.rollout.evidence.force import InForceTime, Stretch, merged
from controller.rollout.evidence.looks import known_and_traffic, quantiles
from controller.rollout.evidence.powered import KEYS as BY_PEOPLE
from controller.rollout.evidence.proofs import limit_bucket
from controller.rollout.evidence.reader import Reader, Windows
from controller.rollout.evidence.readings import read_all
from controller.rollout.evidence.rules import is_provable
from controller.rollout.evidence.view import View
from controller.rollout.metrics import MICRO, Kind, capped
from controller.rollout.plan import FULL_BP, Arm, Plan
from controller.rollout.state import Phase, State, shares
from controller.rollout.timeline import minute_of, minutes
from controller.rollout.verdict import Coverage, Health, InForce, SampleRatio, Seen
from controller.stats.histogram import bucket_of
from controller.stats.sequential import sample_ratio_log_e

BASELINE_RECENT = timedelta(minutes=60)
BASELINE_ERROR_LIMIT = (
    0.5  # of recent baseline requests: beyond it there is nowhere to roll back to
)
SAMPLE_RATIO_ALPHA = 1e-3  # Kohavi et al. 2020, ch. 21: mismatches are bugs, so few false alarms
# A command committed while a tick was under way bears an earlier moment than the tick's judgement, by less than this.
OVERTAKEN = timedelta(minutes=5)


@dataclass(slots=True, kw_only=True)
class Memory:
    """What the controller keeps of a rollout between ticks; can be lost at any time and is then read again.

    `through` is when its windows were last judged, `since` the ingest sequence up to which changes were. `touched` are
    the minutes that changed after that, `moved` those of them in which more than labels changed. `verified` is by
    version, in order of time.

    What is not read again is safe to keep: splits change only with the head, which every look compares; `verified`
    and `through` only by the one reconciler that holds the highest fence, whose memory this is.
    """

    sight: Sight
    tallies: Tallies
    through: datetime | None
    since: int
    verified: dict[int, list[Stretch]] = field(default_factory=dict)
    touched: set[int] = field(default_factory=set)
    moved: set[int] = field(default_factory=set)
    _in_force: InForceTime | None = None

    def take(self, sight: Sight) -> None:
        """Take in what changed since the last look."""
        if sight.head.hash != self.sight.head.hash:
            self.judge_again_from(sight.head.state.updated_at)
            self._in_force = None
        moved = self.tallies.feed(sight.rows, sight.seq)
        changed = {row.minute for row in sight.rows if row.seq > self.since}
        self.touched |= changed
        self.moved |= changed & moved
        self.sight = replace(sight, rows=())

    def judge_again_from(self, moment: datetime) -> None:
        """Windows judged under an earlier head, after the present one was committed, were judged under other terms."""
        if self.through is not None:
            self.through = min(self.through, moment)

    def verify(self, stretch: VerifiedStretch) -> None:
        """Note that a version was verified in force over a stretch."""
        known = self.verified.get(stretch.version, ())
        self.verified[stretch.version] = merged([*known, (stretch.start, stretch.end)])
        self._in_force = None

    def judged(self, through: datetime) -> None:
        """The windows of what was taken in were judged."""
        self.through, self.since = through, self.sight.seq
        self.touched.clear()
        self.moved.clear()

    def in_force(self) -> InForceTime:
        """The time in which a split that gives the candidate traffic was verified in force."""
        if self._in_force is None:
            shifting = {one.version for one in self.sight.splits if any(one.shares.values())}
            self._in_force = InForceTime(
                [one for version in shifting for one in self.verified.get(version, ())]
            )
        return self._in_force


class Observer:
    """Reads a rollout's metrics, only what changed since the last time. For one reconciler, under one fence."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._memories: dict[str, Memory] = {}
        self._ahead: dict[str, Sight] = {}

    def ahead(self, rollouts: Iterable[str]) -> None:
        """Read these in one go, for their next looks: by themselves, each would ask the database twice.

        What comes meanwhile is seen by the looks after those, as what comes while a tick is under way is.
        """
        self._ahead.update(self._store.sights({one: self._known(one) for one in rollouts}))

    def _known(self, rollout: str) -> Sight | None:
        memory = self._memories.get(rollout)
        return memory.sight if memory is not None else None

    def look(self, rollout: str) -> Memory:
        """Read a rollout (`name/attempt`, or a bare name for its newest attempt) as it is now. NotFound."""
        known = self._memories.get(rollout)
        if known is None and "/" not in rollout:
            return self.look(self._store.head(rollout).state.rollout)
        sight = self._ahead.pop(rollout, None)
        if sight is None:
            sight = self._store.sight(rollout, known=self._known(rollout))
        if known is None:
            known = self._first(sight)
        elif known.sight.head.hash != sight.head.hash:
            self._read_verified(known)
        if _asked_by(known.sight.head.state) != _asked_by(sight.head.state):
            # Another revision, or another limit, may ask for statistics that were not kept.
            sight = self._store.sight(rollout)
            tallies = tallies_of(sight.head.plan, references=[sight.head.state.references])
            known = replace(known, tallies=tallies)
        self._memories[rollout] = known
        known.take(sight)
        return known

    def seen(self, memory: Memory, standing: Standing | None, now: datetime) -> Seen:
        """What is seen of a rollout at `now`. `standing` None: not known."""
        head, through = memory.sight.head, memory.through
        view = View(
            plan=head.plan,
            state=head.state,
            tallies=memory.tallies,
            in_force=memory.in_force(),
            now=now,
            judged=minute_of(through) if through is not None else None,
            touched=sorted(memory.touched),
            moved=sorted(memory.moved),
        )
        memory.tallies.forget_histograms(minute_of(now) - _histogram_reach(head.plan))
        return replace(see(view, standing), references=references(view))

    def tip(self, rollout: str) -> tuple[int, int] | None:
        """Number of the last record and ingest sequence of the last look."""
        memory = self._memories.get(rollout)
        return (memory.sight.head.seq, memory.sight.seq) if memory is not None else None

    def forget(self, rollout: str) -> None:
        """Drop what is kept of a rollout."""
        self._memories.pop(rollout, None)
        self._ahead.pop(rollout, None)

    def _first(self, sight: Sight) -> Memory:
        state = sight.head.state
        judged = self._store.judged(state.rollout)
        memory = Memory(
            sight=sight,
            tallies=tallies_of(sight.head.plan, references=[state.references]),
            through=judged.through if judged is not None else None,
            since=judged.seq if judged is not None else 0,
        )
        self._read_verified(memory)
        if judged is not None and judged.through - state.updated_at < OVERTAKEN:
            memory.judge_again_from(state.updated_at)
        return memory

    def _read_verified(self, memory: Memory) -> None:
        for one in self._store.verified(memory.sight.head.state.rollout):
            memory.verify(one)


def _asked_by(state: State) -> tuple[object, ...]:
    """What of a state decides which statistics its tallies keep."""
    return state.plan_digest, state.references


def see(view: View, standing: Standing | None) -> Seen:
    """Everything that `decide` may know, of what a view holds. `standing` None: not known."""
    state, now = view.state, view.now
    judged = state.phase.judged
    return Seen(
        through=now,
        readings=tuple(read_all(view)) if judged and state.step >= 0 else (),
        in_force=in_force(view.plan, state, standing),
        expired_at=standing.expired_at if standing is not None else None,
        expired_fence=standing.expired_fence if standing is not None else 0,
        held=view.in_force.within(state.hold_from, now),
        sample_ratio=sample_ratio(view) if judged else None,
        baseline=baseline_health(view.reader, now),
        freeze=active_freeze(view.plan.freezes, now),
        samples=_requests_in_step(view),
        coverage=coverage(view) if judged else None,
    )


def in_force(plan: Plan, state: State, standing: Standing | None) -> InForce:
    """What a target's standing says of the committed split. Not known, or not by every replica, is not verified."""
    if standing is None:
        return InForce.UNVERIFIED
    if standing.expired_at is not None:
        return InForce.EXPIRED
    if standing.split is None or standing.since is None:
        return InForce.UNVERIFIED
    same = standing.split.version == state.version
    return (
        InForce.VERIFIED
        if same and dict(standing.split.shares) == shares(plan, state)
        else InForce.UNVERIFIED
    )


def baseline_health(reader: Reader, now: datetime) -> Health:
    """Whether the baseline answered most of its requests of the last hour, pinned ones included.

    An error rate of those whose fate is known: a client that went away says nothing of the baseline, and nor does an
    hour of nobody else. Where whoever reports has never told of an error or of none, requests are answers.
    """
    end, arm = minute_of(now) + 1, Arm.BASELINE.value
    span, keys = (end - minutes(BASELINE_RECENT), end), ("n", "d.error", "f.error")
    requests, known, errors = reader.between(*span, keys, arm=arm, intent=None, compared=False)
    if known == 0:
        told = reader.before(end, ("d.error",), arm=arm, intent=None, compared=False)
        return Health.UNKNOWN if requests == 0 or any(told) else Health.ANSWERING
    return Health.FAILING if errors > BASELINE_ERROR_LIMIT * known else Health.ANSWERING


def sample_ratio(view: View) -> SampleRatio | None:
    """Units newly assigned since the step began, against its share; None where the split leaves nothing to compare."""
    state = view.state
    if not 0 < state.share_bp < FULL_BP:
        return None
    counts = dict.fromkeys(Arm, 0)
    pinned = {name for name, share in shares(view.plan, state).items() if share == 0}
    end = minute_of(view.now) + 1
    for arm in Arm:
        for version, intent, sums in view.tallies.strata(arm=arm.value, intent=None):
            if version == state.version and intent not in pinned:
                counts[arm] += sums.until_one(end, ("units",))[0]
    candidate, baseline = counts[Arm.CANDIDATE], counts[Arm.BASELINE]
    return SampleRatio(
        candidate=candidate,
        baseline=baseline,
        share_bp=state.share_bp,
        log_e=sample_ratio_log_e(candidate, baseline, state.share_bp / FULL_BP),
        log_threshold=-math.log(SAMPLE_RATIO_ALPHA),
    )


def coverage(view: View) -> Coverage | None:
    """Grades per episode (of a sample per answer) by arm, over the part of the step that is old enough; None where no
    rule needs labels.
    """
    rule = next((one for one in view.plan.rules if one.metric.kind is Kind.LOSS), None)
    if rule is None or view.state.step < 0:
        return None
    start, end = minute_of(view.state.step_started_at), view.watermark(rule)
    if end <= start:
        return None
    return coverage_between(view.reader, None, start, end, sampled_u=view.plan.labels.sampled_u)


def references(view: View) -> dict[str, int]:
    """The baseline's percentiles over the last window of each rule that compares with one, where enough requests tell:
    those that are not frozen yet, and all of them when a step may begin.
    """
    found: dict[str, int] = {}
    state = view.state
    if state.phase not in (Phase.PENDING, Phase.PROGRESSING):
        return found
    may_begin = state.phase is Phase.PENDING or _is_held(view)
    for rule, intent in compared(view.plan):
        key = reference_key(rule, intent)
        if intent in state.pins or not (may_begin or key not in state.references):
            continue
        end = view.watermark(rule)
        window = Windows.single(end - minutes(rule.window), end)
        value, n = quantiles(rule.metric, Arm.BASELINE.value, intent, view.reader, window)
        if n >= LEAST:
            found[key] = bucket_of(float(at(value, 0)))
    return found


def _is_held(view: View) -> bool:
    """Whether the step's hold is over."""
    state = view.state
    held = state.held + view.in_force.within(state.hold_from, view.now)
    return held >= view.plan.steps[state.step].hold


def tallies_of(*plans: Plan, references: Iterable[Frozen] = ()) -> Tallies:
    """Empty ones, for all that the rules of these plans look at, with what was frozen for them."""
    asked = [needed(plan) for plan in plans]
    keep = asked[0] if len(asked) == 1 else lambda key: any(one(key) for one in asked)
    return Tallies(keep=keep, bounds=bounds(*plans, references=references))


def bounds(*plans: Plan, references: Iterable[Frozen] = ()) -> dict[str, set[int]]:
    """By histogram: the buckets of which proofs need to know how much lies above them."""
    found: dict[str, set[int]] = {}
    for frozen in references:
        for rule, intent in (one for plan in plans for one in compared(plan)):
            for reference in frozen.get(reference_key(rule, intent), ()):
                bucket, limit = frozen_buckets(rule, reference)
                found.setdefault(rule.metric.subject, set()).update((bucket, limit - 1, limit))
    for rule in (rule for plan in plans for rule in plan.rules):
        if rule.metric.kind is Kind.QUANTILE and is_provable(rule):
            bucket = limit_bucket(rule)
            found.setdefault(rule.metric.subject, set()).update((bucket - 1, bucket))
    return found


def needed(plan: Plan) -> Callable[[str], bool]:
    """Which statistics this plan's rules can ask for; the others are not kept in memory."""
    keys = {
        "n",
        "e",
        "units",
        "f.error",
        "d.error",
        "graded",
        "e.graded",
        "e.correct_u",
        "served",
        "served_u",
    }
    if plan.labels.sampled_u < MICRO:
        keys.add("f.escalated")
    if plan.labels.people_u:
        keys.update(BY_PEOPLE)
    keys.update(map(capped, cost_caps(plan)))
    prefixes = ["b.", "p.", "pv."]
    for rule in plan.rules:
        keys.update(known_and_traffic(rule.metric))
        subject = rule.metric.subject
        match rule.metric.kind:
            case Kind.RATE:
                keys.update((f"f.{subject}", f"d.{subject}", f"ef.{subject}", f"ed.{subject}"))
            case Kind.QUANTILE | Kind.QUANTILE_RATIO:
                prefixes.append(f"h.{subject}.")
            case Kind.MEAN:
                for part in subject.split("/"):
                    keys.update((f"s.{part}", f"c.{part}"))
            case Kind.COST:
                keys.add("correct_u")
                for part in ("cost_nusd", "input_tokens", "output_tokens"):
                    keys.update((f"s.{part}", f"c.{part}"))
    starts = tuple(prefixes)
    return lambda key: key in keys or key.startswith(starts)


def _histogram_reach(plan: Plan) -> int:
    """Minutes back that windows on histograms reach, and a day more for late arrivals."""
    spans = [
        minutes(rule.window) + minutes(rule.sustained) + minutes(rule.usual or timedelta(0))
        for rule in plan.rules
        if rule.metric.kind in (Kind.QUANTILE, Kind.QUANTILE_RATIO)
    ]
    return max(spans, default=0) + 24 * 60


def _requests_in_step(view: View) -> int:
    if view.state.step < 0:
        return 0
    start, end = minute_of(view.state.step_started_at), minute_of(view.now) + 1
    (requests,) = view.reader.between(start, end, ("n",), arm=Arm.CANDIDATE.value, intent=None)
    return requests
