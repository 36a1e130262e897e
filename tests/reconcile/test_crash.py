"""The controller is stopped at every effect boundary of every sequence, restarted, and must end where it would have.

A step is: a minute passes, its requests come in (quiet, or a burst that makes the worst verdict of the tick), perhaps a
command, then ticks until nothing more happens. From every situation that sequences of such steps reach, every step is
run once whole and once for every boundary, cut off there and restarted. Because the interrupted world ends in the same
situation as the whole one, longer sequences with crashes in several places are covered by the shorter ones.
"""

import sys
from collections import deque
from typing import Any

import pytest

from controller.rollout.commands import Approve, PauseNow, Promote, Resume, Retire, Retry, Rollback
from controller.rollout.deciding.replay import fold, replay
from controller.rollout.record import verify_chain
from controller.rollout.state import Phase, shares
from tests.reconcile.world import ERRORS, ESCALATIONS, MINUTE, QUIET, Crash, Fuse, World

WHO: dict[str, Any] = {"actor": "ann", "reason": "because"}
COMMANDS = (
    None,
    PauseNow(**WHO),
    Resume(**WHO),
    Promote(**WHO),
    Promote(override=("errors",), **WHO),
    Approve(**WHO),
    Rollback(**WHO),
    Retry(**WHO),
    Retire(**WHO),
)
STEPS = [(kind, command) for kind in (QUIET, ERRORS, ESCALATIONS) for command in COMMANDS]


def run(world, kind, command):
    """One step; with a fuse in the world it may end in a Crash."""
    if command is not None:
        world.command(command)
    world.settle()


def open_step(world, kind):
    world.clock.advance(MINUTE)
    world.traffic(kind)


def interrupted(world, kind, command, boundary):
    """The step cut off at a boundary, restarted and gone on with; False if the step has no such boundary."""
    world.restart(Fuse(at=boundary))
    before = world.head
    carried = command is None
    try:
        if command is not None:
            world.command(command)
            carried = True
        world.settle()
    except Crash:
        world.restart()
        if not carried and not asked(world, before, command):
            # The person whose command was cut off looks, finds that nothing was recorded, and asks again.
            world.command(command)
        world.settle()
        return True
    return False


def asked(world, before, command):
    """Whether the chain already holds the command."""
    rollout = world.head.state.rollout
    after = before.seq if rollout == before.state.rollout else 0
    return any(one.value.command == command for one in world.store.records(rollout, after=after))


def check(world):
    """What must hold after every step, however it went."""
    for head in world.store.heads():
        records = world.store.records(head.state.rollout)
        assert verify_chain(records) == head.hash
        assert fold(one.value for one in records) == head.state
        disagreements = replay((one.value for one in records), lambda d: world.store.plan(d).value)
        assert disagreements == ()
        owed = world.store.deliveries(head.state.rollout)
        assert all(one.delivered for one in owed)
        assert len(owed) == sum(len(one.value.notices) for one in records)
    sent = {one.owed.id for one in world.notifier.sent}
    assert sent == {
        one.id for head in world.store.heads() for one in world.store.deliveries(head.state.rollout)
    }
    state = world.head.state
    standing = world.target.read(state.rollout)
    assert standing.split is not None
    assert dict(standing.split.shares) == shares(world.plan, state)
    if state.phase is Phase.ROLLED_BACK:
        assert not any(standing.split.shares.values())


def explore(depth):
    """Breadth first over situations: every step from every situation, whole and cut off everywhere."""
    first = World()
    first.settle()
    known = {first.kind()}
    queue = deque([(first, 0)])
    crashes = steps = 0
    while queue:
        world, length = queue.popleft()
        for kind, command in STEPS:
            whole = world.copy()
            open_step(whole, kind)
            opened = whole.copy()
            run(whole, kind, command)
            check(whole)
            steps += 1
            boundary = 0
            while True:
                cut = opened.copy()
                if not interrupted(cut, kind, command, boundary):
                    break
                check(cut)
                assert cut.situation() == whole.situation(), (kind, command, boundary)
                crashes += 1
                boundary += 1
            if whole.kind() not in known and length + 1 < depth:
                known.add(whole.kind())
                queue.append((whole, length + 1))
    return len(known), steps, crashes


def told(capsys, counts):
    situations, steps, crashes = counts
    with capsys.disabled():
        sys.stdout.write(f"\n{situations} situations, {steps} steps, {crashes} crashes healed\n")
    return crashes


@pytest.mark.timeout(300)
def test_every_crash_in_every_first_step_heals(capsys):
    assert told(capsys, explore(1)) > 200


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_every_crash_in_sequences_up_to_six_heals(capsys):
    assert told(capsys, explore(6)) > 2_000
