"""What is exported of rollouts: the last tick's word, absent where nothing is known, gone with the rollout."""

from dataclasses import replace

from controller.reconcile.submit import submit
from controller.rollout.commands import Apply, Retry, Rollback
from controller.rollout.state import Phase
from controller.telemetry.meters import Meters
from tests.reconcile.world import BEGIN, ERRORS, ESCALATIONS, MINUTE, World
from tests.telemetry.exposition import Scrape
from tests.telemetry.factories import Told, about_to_advance, worked


def scraped(world, *, times=2):
    meters = Meters()
    worked(world, meters, times=times)
    return Scrape(meters.expose())


def test_a_rollout_at_its_first_step_shows_its_phase_step_and_shares():
    scrape = scraped(about_to_advance())

    assert scrape.on("canary_phase", "phase") == {"progressing"}
    assert len(scrape.families["canary_phase"].samples) == len(Phase)
    assert scrape.value("canary_step", plan="quick") == 1
    assert scrape.value("canary_steps", plan="quick") == 3
    assert scrape.value("canary_attempt", plan="quick") == 1
    assert scrape.value("canary_share_planned_ratio", plan="quick", intent="chat") == 0.1
    assert scrape.value("canary_share_planned_ratio", plan="quick", intent="legal") == 0
    assert scrape.value("canary_share_in_force_ratio", plan="quick", intent="chat") == 0.1
    assert scrape.on("canary_split_standing", "standing") == {"verified"}
    assert scrape.on("canary_baseline_health", "health") == {"answering"}
    assert scrape.value("canary_judged_timestamp_seconds", plan="quick") == BEGIN.timestamp()


def test_what_is_not_known_is_absent_and_never_zero():
    world = World()
    world.target.cut()

    scrape = scraped(world, times=1)

    assert scrape.value("canary_share_planned_ratio", plan="quick", intent="chat") == 0
    assert scrape.value("canary_share_in_force_ratio", plan="quick", intent="chat") is None
    assert scrape.value("canary_share_realised_ratio", plan="quick") is None
    assert scrape.value("canary_rule_value", plan="quick", rule="errors") is None
    assert scrape.value("canary_rule_log_e", plan="quick", rule="errors") is None
    assert scrape.value("canary_pause_deadline_timestamp_seconds", plan="quick") is None
    assert scrape.on("canary_baseline_health", "health") == {"unknown"}


def test_a_rule_shows_value_limit_verdict_and_the_evidence_against_it():
    world = about_to_advance()
    worked(world, Meters(), times=2)
    world.traffic(ESCALATIONS)

    scrape = scraped(world, times=1)

    about = {"plan": "quick", "rule": "escalation"}
    assert scrape.value("canary_rule_limit", **about) == 0.02
    assert scrape.value("canary_rule_value", **about) == 1
    assert scrape.value("canary_rule_verdict", **about, verdict="fail") == 1
    assert scrape.value("canary_rule_verdict", **about, verdict="pass") == 0
    log_e = scrape.value("canary_rule_log_e", **about)
    threshold = scrape.value("canary_rule_log_threshold", **about)
    assert log_e is not None
    assert threshold is not None
    assert log_e >= threshold > 0
    assert scrape.on("canary_phase", "phase") == {"rolled_back"}


def test_a_pause_shows_when_it_becomes_a_rollback():
    world = about_to_advance()
    worked(world, Meters(), times=2)
    world.traffic(ERRORS)

    scrape = scraped(world, times=1)

    deadline = world.head.state.paused.deadline
    shown = scrape.value("canary_pause_deadline_timestamp_seconds", plan="quick")
    assert shown == deadline.timestamp()


def test_a_retired_rollout_disappears():
    world, meters, told = about_to_advance(), Meters(), Told()
    worked(world, told, times=2)
    head, status, standing = told.statuses[-1]
    meters.judged(head, status, standing)

    retired = replace(head, state=replace(head.state, phase=Phase.RETIRED))
    meters.judged(retired, status, standing)

    assert "canary_phase" not in Scrape(meters.expose()).families


def test_a_new_attempt_takes_the_place_of_the_one_before_under_the_same_labels():
    world, meters = about_to_advance(), Meters()
    worked(world, meters, times=2)
    submit(world.store, world.clock, "quick", Rollback(actor="ann", reason="no"))
    submit(world.store, world.clock, "quick", Retry(actor="ann", reason="again"))
    loop = worked(world, meters)

    loop.wake(["quick/1"])  # a late outcome of the past
    loop.work(timeout_s=0)

    scrape = Scrape(meters.expose())
    assert scrape.value("canary_attempt", plan="quick") == 2
    assert len(scrape.families["canary_phase"].samples) == len(Phase)


def test_a_plan_that_is_not_ticked_here_any_more_disappears():
    world, meters = about_to_advance(), Meters()
    worked(world, meters)

    meters.running(["other/1"])

    assert "canary_phase" not in Scrape(meters.expose()).families


def test_a_scrape_shows_the_last_tick_however_often_it_is_asked():
    world, meters = about_to_advance(), Meters()
    worked(world, meters)
    first = Scrape(meters.expose())
    world.clock.advance(MINUTE)

    again = Scrape(meters.expose())
    worked(world, meters)
    later = Scrape(meters.expose())

    when = "canary_judged_timestamp_seconds"
    assert first.value(when, plan="quick") == again.value(when, plan="quick")
    assert later.value(when, plan="quick") == (BEGIN + MINUTE).timestamp()


def test_labels_survive_the_format_whatever_is_in_them():
    world = World()
    odd = replace(
        world.plan,
        name="odd",
        baseline=replace(world.plan.baseline, model='a"b\\c\nd'),
        match_model="x",
    )
    submit(world.store, world.clock, "odd", Apply(plan=odd, actor="ann", reason="go"))

    scrape = scraped(world)

    (info,) = [
        one for one in scrape.families["canary_rollout_info"].samples if one.labels["plan"] == "odd"
    ]
    assert info.labels["baseline"] == 'a"b\\c\nd'
