"""The upstream and its models, against the strict simulated one and against what else may answer there."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from controller.doctor import models
from controller.doctor.finding import Level
from controller.ports import Head
from controller.rollout.decision import Action
from controller.rollout.plan import Step
from controller.rollout.state import Phase
from controller.rollout.status import Status
from controller.rollout.verdict import Health, Seen
from controller.simulate.services.upstream import SimulatedModels, Skill
from tests.doctor.servers import answering, nowhere, serving
from tests.rollout.factories import at_step, plan

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
TODAY = NOW.date()
DAY = timedelta(days=1)


def simulated(*names, shutdowns=None, shedding=0.0):
    skills = {name: Skill(shedding=shedding) for name in names}
    return serving(SimulatedModels(skills, seed=1, shutdowns=shutdowns).app())


def asked(address, key="sk-test"):
    return models.of_upstream(f"http://{address}/v1", key)


def head(*, phase=Phase.PROGRESSING, days=10, shutdown=None):
    """A rollout at its first step, whose holds last so many days, without a bake."""
    arm = plan().baseline
    rolled = replace(
        plan(),
        baseline=replace(arm, shutdown=shutdown),
        candidate=replace(plan().candidate, shutdown=shutdown),
        steps=(Step(share_bp=1000, hold=days * DAY), Step(share_bp=10_000)),
        bake=timedelta(0),
    )
    return Head(state=replace(at_step(0), phase=phase), plan=rolled, seq=2, hash="h")


def levels(findings):
    return [one.level for one in findings]


# The upstream


def test_an_upstream_that_lists_its_models_is_well_and_tells_its_time():
    with simulated("gpt-4.1", "gpt-4.1-mini") as address:
        finding, served = asked(address)

    assert finding.level is Level.OK
    assert "lists 2 models" in finding.found
    assert served.ends == {"gpt-4.1": None, "gpt-4.1-mini": None}
    assert served.answered.utcoffset() == timedelta(0)


def test_the_upstreams_own_word_of_a_models_end_is_read():
    with simulated("gpt-4.1", shutdowns={"gpt-4.1": date(2027, 1, 14)}) as address:
        _, served = asked(address)

    assert served.ends == {"gpt-4.1": date(2027, 1, 14)}


def test_without_a_key_an_upstream_that_asks_for_one_is_reachable_and_a_warning():
    with simulated("gpt-4.1") as address:
        finding, served = asked(address, key=None)

    assert finding.level is Level.WARNING
    assert "asks for a key (401)" in finding.found
    assert "OPENAI_API_KEY" in finding.todo
    assert served.ends == {}


def test_a_key_that_is_refused_is_failed_and_not_shown():
    with answering("/v1/models", {"error": {"message": "no"}}, status=401) as address:
        finding, _ = asked(address, key="sk-very-secret")

    assert finding.level is Level.FAILED
    assert "refuses the key in OPENAI_API_KEY (401)" in finding.found
    assert "sk-very-secret" not in str(finding)


def test_an_upstream_that_cannot_be_reached_is_told_apart_from_one_that_refuses():
    finding, served = asked(nowhere())

    assert finding.level is Level.FAILED
    assert "cannot be reached" in finding.found
    assert served is None


@pytest.mark.parametrize(
    ("body", "status"),
    [({"error": "gone"}, 404), ({"data": 5}, 200), ({"models": []}, 200), ([], 200), (None, 500)],
)
def test_what_is_no_list_of_models_is_failed(body, status):
    with answering("/v1/models", body, status=status) as address:
        finding, served = asked(address)

    assert finding.level is Level.FAILED
    assert "no list of models" in finding.found
    assert served is None


def test_a_page_that_is_no_json_is_failed():
    with answering("/v1/models", text="<html>welcome</html>") as address:
        finding, _ = asked(address)

    assert finding.level is Level.FAILED


def test_a_password_in_the_address_is_not_shown():
    finding, _ = models.of_upstream(f"http://user:hunter2@{nowhere()}/v1", None)

    assert "hunter2" not in str(finding)


# Both arms' models


def served(**ends):
    return models.Served(ends=ends, answered=None)


BOTH = {"gpt-4.1": None, "gpt-4.1-mini": None}


def test_models_that_are_listed_and_have_no_announced_end_are_well():
    found = list(models.of_arms(head(), models.Served(ends=BOTH, answered=None), NOW))

    assert levels(found) == [Level.OK, Level.OK]


def test_a_model_that_is_not_listed_is_failed_for_its_arm():
    only = models.Served(ends={"gpt-4.1": None}, answered=None)

    baseline, candidate = models.of_arms(head(), only, NOW)

    assert (baseline.level, candidate.level) == (Level.OK, Level.FAILED)
    assert "gpt-4.1-mini is not among the 1 models" in candidate.found


def test_where_the_list_is_not_known_no_model_is_said_to_be_missing():
    assert levels(models.of_arms(head(), None, NOW)) == [Level.OK, Level.OK]
    nothing = models.Served(ends={}, answered=None)
    assert levels(models.of_arms(head(), nothing, NOW)) == [Level.OK, Level.OK]


@pytest.mark.parametrize(
    ("end", "level"),
    [
        (TODAY - DAY, Level.FAILED),  # is gone
        (TODAY, Level.FAILED),
        (TODAY + 10 * DAY, Level.FAILED),  # the rollout could end that day
        (TODAY + 11 * DAY, Level.WARNING),
        (TODAY + 10 * DAY + models.NEAR, Level.WARNING),
        (TODAY + 11 * DAY + models.NEAR, Level.OK),
    ],
)
def test_a_rollout_that_outlives_one_of_its_models_is_failed_with_dates(end, level):
    baseline, candidate = models.of_arms(head(days=10, shutdown=end), None, NOW)

    assert (baseline.level, candidate.level) == (level, level)
    assert str(end) in baseline.found
    if level is Level.FAILED:
        assert "nowhere to go" in baseline.found


def test_the_upstreams_word_goes_before_the_plans_table():
    told = models.Served(ends={**BOTH, "gpt-4.1": TODAY + DAY}, answered=None)

    baseline, candidate = models.of_arms(head(shutdown=TODAY + 400 * DAY), told, NOW)

    assert baseline.level is Level.FAILED
    assert "(the upstream)" in baseline.found
    assert "(the plan's model table)" in candidate.found


def test_a_complete_rollout_needs_its_candidate_from_today_on():
    assert models.remaining(head(phase=Phase.COMPLETE)) == timedelta(0)
    assert models.remaining(head(days=10)) == 10 * DAY


# The baseline


def status(health):
    return Status(
        at=NOW,
        action=Action.HOLD,
        seen=Seen(through=NOW, baseline=health),
        verdicts=(),
        waits=(),
    )


@pytest.mark.parametrize(
    ("health", "level"),
    [
        (Health.ANSWERING, Level.OK),
        (Health.FAILING, Level.FAILED),
        (Health.UNKNOWN, Level.WARNING),
    ],
)
def test_whether_the_baseline_answers_is_known_from_its_traffic(health, level):
    assert models.of_baseline(plan(), status(health), NOW).level is level


def test_what_was_seen_of_the_baseline_long_ago_says_nothing_of_now():
    looked = status(Health.ANSWERING)

    assert models.of_baseline(plan(), looked, looked.at + timedelta(hours=2)).level is Level.WARNING


def test_of_a_rollout_that_nobody_judged_the_baseline_is_not_known():
    assert models.of_baseline(plan(), None, NOW).level is Level.WARNING


def test_a_probe_asks_one_request_and_says_what_it_cost():
    with simulated("gpt-4.1") as address:
        found = models.probe_baseline(plan(), f"http://{address}/v1", "sk-test")

    assert found.level is Level.OK
    assert "gpt-4.1 answered a probe, which cost 0.00" in found.found
    assert "USD" in found.found


def test_a_baseline_that_sheds_load_or_is_not_there_fails_the_probe_with_its_own_words():
    with simulated("gpt-4.1", shedding=1.0) as address:
        shed = models.probe_baseline(plan(), f"http://{address}/v1", "sk-test")
    with simulated("another") as address:
        missing = models.probe_baseline(plan(), f"http://{address}/v1", "sk-test")
    gone = models.probe_baseline(plan(), f"http://{nowhere()}/v1", "sk-test")

    assert [one.level for one in (shed, missing, gone)] == [Level.FAILED] * 3
    assert "503: The simulated model is overloaded" in shed.found
    assert "404: The model `gpt-4.1` does not exist" in missing.found
