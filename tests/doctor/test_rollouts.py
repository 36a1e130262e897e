"""What needs somebody: rollouts that nobody judges, are paused, blind or unverified; notices that are not delivered."""

from datetime import timedelta

import pytest

from controller.doctor import rollouts
from controller.doctor.finding import Level
from controller.ports import Backlog, Head
from controller.rollout.decision import Action
from controller.rollout.state import Cause, Pause, Phase
from controller.rollout.status import Status
from controller.rollout.verdict import InForce
from tests.rollout.factories import ESCALATION, NOW, at_step, plan, reading, seen

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
UNWATCHED = 5 * MINUTE


def head(**changes):
    return Head(state=at_step(1, **changes), plan=plan(), seq=2, hash="h")


def status(*readings, at=NOW, in_force=InForce.VERIFIED):
    looked = seen(*readings, in_force=in_force)
    return Status(at=at, action=Action.HOLD, seen=looked, verdicts=(), waits=())


def found(of, looked, now=NOW):
    return list(rollouts.of_rollout(of, looked, now, unwatched=UNWATCHED))


def paused(*, deadline):
    return Pause(
        since=NOW - HOUR,
        deadline=deadline,
        cause=Cause.RULE,
        phase=Phase.PROGRESSING,
        share_bp=2500,
        held=timedelta(0),
    )


def test_a_rollout_that_is_judged_and_in_force_is_one_good_line():
    (one,) = found(head(), status())

    assert one.level is Level.OK
    assert one.found == "progressing, judged and in force"


@pytest.mark.parametrize("looked", [status(at=NOW - UNWATCHED - MINUTE), None])
def test_a_rollout_that_nobody_judges_is_failed(looked):
    of = head(started_at=NOW - HOUR)

    one = found(of, looked)[0]

    assert one.level is Level.FAILED
    assert "no controller judges it" in one.found


def test_how_long_ago_is_said_in_what_a_person_counts_in():
    of = head(started_at=NOW - 400 * 24 * HOUR)

    assert (
        found(of, status(at=NOW - 47 * 24 * HOUR - MINUTE))[0].found
        == "no controller judges it: last 47d ago"
    )
    assert found(of, status(at=NOW - 3 * HOUR))[0].found == "no controller judges it: last 3h ago"


def test_what_needs_no_judgement_still_needs_a_controller_unless_it_is_rolled_back():
    complete, rolled_back = (
        head(phase=phase, started_at=NOW - HOUR) for phase in (Phase.COMPLETE, Phase.ROLLED_BACK)
    )
    long_ago = status(at=NOW - HOUR)

    assert (
        found(complete, long_ago)[0].found == "no controller keeps its split in force: last 1h ago"
    )
    assert found(complete, status())[0].found == "complete, in force"
    assert [(one.level, one.found) for one in found(rolled_back, long_ago)] == [
        (Level.OK, "rolled back, in force")
    ]


def test_a_rollout_that_was_just_started_is_not_yet_blamed_on_anybody():
    of = head(started_at=NOW - MINUTE)

    assert [one.level for one in found(of, None)] == [Level.OK]


def test_a_pause_is_a_warning_until_its_deadline_and_failed_after_it():
    before = found(head(phase=Phase.PAUSED, paused=paused(deadline=NOW + HOUR)), status())
    after = found(head(phase=Phase.PAUSED, paused=paused(deadline=NOW - HOUR)), status())

    assert [one.level for one in before] == [Level.WARNING]
    assert "in 1h it becomes a rollback" in before[0].found
    assert [one.level for one in after] == [Level.FAILED]
    assert "passed 1h ago" in after[0].found


@pytest.mark.parametrize(
    ("blind", "level"), [(MINUTE, Level.WARNING), (plan().max_blind, Level.FAILED)]
)
def test_a_blind_rollout_is_a_warning_and_failed_once_it_is_blind_for_too_long(blind, level):
    (one,) = found(head(), status(reading(ESCALATION, blind=blind)))

    assert one.level is level
    assert "rule escalation has been blind" in one.found


@pytest.mark.parametrize("in_force", [InForce.UNVERIFIED, InForce.EXPIRED])
def test_a_split_that_is_not_verified_is_a_warning_and_a_rollback_that_is_not_is_failed(in_force):
    (going,) = found(head(), status(in_force=in_force))
    (off,) = found(head(phase=Phase.ROLLED_BACK, share_bp=0), status(in_force=in_force))

    assert (going.level, off.level) == (Level.WARNING, Level.FAILED)
    assert in_force.value in off.found


def test_a_rollout_that_has_not_begun_is_not_asked_for_its_split():
    (one,) = found(head(phase=Phase.PENDING), status(in_force=InForce.UNVERIFIED))

    assert one.level is Level.OK


def test_everything_that_is_wrong_is_said():
    of = head(phase=Phase.PAUSED, paused=paused(deadline=NOW - HOUR))
    looked = status(reading(ESCALATION, blind=HOUR), at=NOW - HOUR, in_force=InForce.EXPIRED)

    assert len(found(of, looked)) == 4


# The outbox


@pytest.mark.parametrize(
    ("age", "level"),
    [
        (MINUTE, Level.OK),
        (rollouts.OWED_WARNING + MINUTE, Level.WARNING),
        (rollouts.OWED_FAILED + MINUTE, Level.FAILED),
    ],
)
def test_what_is_owed_for_long_is_a_warning_and_for_very_long_failed(age, level):
    owed = Backlog(destination="slack:#ops", count=3, oldest=NOW - age)

    (one,) = rollouts.of_outbox([owed], NOW)

    assert one.level is level
    assert one.check == "outbox: slack:#ops"
    assert "3 undelivered" in one.found


def test_an_empty_outbox_is_well():
    (one,) = rollouts.of_outbox([], NOW)

    assert one.level is Level.OK
