"""The demonstration for a team: PostgreSQL, two controllers of which the leader is killed, Slack."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from controller.demo.channel import CHANNEL, threads
from controller.demo.place import Place
from controller.rollout.state import Phase
from controller.store.open import open_store
from tests.accounting.factories import commit
from tests.demo.test_demo import command, decisions
from tests.postgres import Cluster

STRUCK = "was killed (SIGKILL) while it led"


def played(place: Place, *options: str) -> str:
    """A demonstration to its end; what it said."""
    answer = subprocess.run(
        command(place, *options), capture_output=True, text=True, timeout=800, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@pytest.mark.slow
@pytest.mark.timeout(1700)
def test_a_team_whose_leader_is_killed_decides_as_one_controller_does_and_slack_tells_it_once(
    tmp_path: Path, postgresql: Cluster
):
    url = postgresql.empty()
    alone, team = Place(tmp_path / "alone"), Place(tmp_path / "team")

    played(alone)
    said = played(team, "--database", url, "--controllers", "2")

    assert STRUCK in said
    # Of a machine so busy that a term ran out before, the fences are higher.
    killed, leads = re.findall(r"under\s+fence\s+(\d+)", said[said.index(STRUCK) :])[:2]
    assert int(leads) > int(killed) >= 1
    assert [(name, *what) for name, _, *what in decisions(alone)] == [
        (name, *what) for name, _, *what in decisions(team, url)
    ]
    store = open_store(url, migrate=False)
    assert {head.state.phase for head in store.heads()} == {Phase.COMPLETE, Phase.ROLLED_BACK}
    heads = store.heads()
    # Each event that is owed to the channel is a reply below its rollout's message, once and in order.
    posted = json.loads(team.slack.read_text(encoding="utf-8"))
    told = [one["metadata"]["event_payload"]["id"] for one in posted if one["thread_ts"]]
    for head in heads:
        owed = [
            one.id
            for one in store.deliveries(head.state.rollout)
            if one.destination == f"slack:#{CHANNEL}"
        ]
        assert [one for one in told if one in owed] == owed
        thread = next(one for one in store.threads(rollout=head.state.rollout))
        assert thread.seq == head.seq  # what is shown of the present is
    assert len(threads(team.slack)) == len(heads)
    assert all(parent in said for parent, *_ in threads(team.slack))
    store.close()


def test_a_database_that_holds_something_is_refused(tmp_path: Path, postgresql_url: str):
    first = command(Place(tmp_path / "first"), "--database", postgresql_url)
    store = open_store(postgresql_url, migrate=False)
    store.commit(commit(None))
    store.close()

    answer = subprocess.run(first, capture_output=True, text=True, timeout=50, check=False)

    assert (answer.returncode, "Traceback" in answer.stderr) == (5, False)
    assert "A demonstration needs one of its own" in " ".join(answer.stderr.split())
    assert not (tmp_path / "first" / "setup.json").exists()
