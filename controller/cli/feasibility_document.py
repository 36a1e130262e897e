"""What `check` finds of a plan on its traffic, as a document."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from controller.cli.learnt import latencies_document
from controller.cli.output import Document, precise
from controller.cli.simulated import MINUTE_S, part_document, pinned_document, spread_document

if TYPE_CHECKING:
    from controller.cli.feasibility import Outcome
    from controller.rollout.plan import Plan, Rule
    from controller.simulate.feasibility.bill import Bill
    from controller.simulate.feasibility.history import History
    from controller.simulate.feasibility.prospect import Catch, Proving, Row
    from controller.simulate.feasibility.rehearsal import Rehearsal


def document(plan: Plan, outcome: Outcome) -> Document:
    asked = outcome.asked
    return {
        "learnt": _history(asked.known.history),
        "units_per_minute": asked.traffic.units_per_minute,
        "requests_per_unit": asked.traffic.requests_per_unit,
        "intents": dict(asked.traffic.mix),
        "accuracy": asked.traffic.accuracy,
        "escalation": asked.traffic.escalation,
        "label_rate": asked.traffic.label_rate,
        "latencies": latencies_document(asked.known.usual),
        "request_usd": {arm.value: usd for arm, usd in asked.known.usual.request_usd.items()},
        "shadow_pairs": asked.pairs,
        "apparent_loss": outcome.found.apparent_loss,
        "draws": outcome.found.runs,
        "seed": outcome.found.seed,
        "rules": [_row(plan, one) for one in outcome.found.rows],
        "proofs": [_proving(plan, one) for one in outcome.found.provings],
        "simulated": _rehearsal(outcome.rehearsal) if outcome.rehearsal is not None else None,
        "cost": _bill(outcome.bill) if outcome.bill is not None else None,
        "suggestions": [
            {
                "code": one.finding.code,
                "path": one.finding.path,
                "use": [s.text for s in one.suggestions],
            }
            for one in outcome.advice
        ],
    }


def _row(plan: Plan, row: Row) -> Document:
    return {
        **_place(plan, row.step, row.rule, row.intent),
        "window_s": row.rule.window.total_seconds(),
        "candidate_samples": row.candidate,
        "baseline_samples": row.baseline,
        "candidate_in_proof": row.episodes,
        "healthy_figure": row.figure,
        "healthy_stopped": {
            "as_written": None
            if row.stopped is None
            else {
                "share": row.stopped.share,
                "lower": row.stopped.lower,
                "upper": row.stopped.upper,
            },
            "by_proof": row.by_proof,
        },
        "lacking": row.lacking,
        "catches": [_catch(one) for one in row.catches],
    }


def _catch(one: Catch) -> Document:
    return {
        "size": one.size,
        "observations": _quantiles(one.needed),
        "by_proof_s": _seconds(one.after),
        "probability": one.probability,
        "by_people": one.by_people,
        "as_written_s": None if one.written is None else _seconds(one.written.after),
        "after_s": _seconds(one.sooner),
        "bad_answers_served": one.bad_served,
    }


def _history(history: History | None) -> Document | None:
    if history is None:
        return None
    return {
        "rollout": history.rollout,
        "since": precise(history.since),
        "until": precise(history.until),
        "requests": history.requests,
        "rolled_back": history.rolled_back,
    }


def _proving(plan: Plan, one: Proving) -> Document:
    return {
        **_place(plan, one.step, one.rule, one.intent),
        "asked": one.asked,
        "within_s": one.within.total_seconds(),
        "labels": one.have,
        "by_people": one.by_people,
        "probability": one.probability,
        "labels_needed": _quantiles(one.needed),
        "after_s": _seconds(one.after),
        "shadow_pairs_needed": one.pairs,
    }


def _rehearsal(found: Rehearsal) -> Document:
    from controller.simulate.endings import STOPS, Ending, part_of

    return {
        "runs": found.runs,
        "seed": found.setups[0].seed,
        "max_days": found.setups[0].max_days,
        "not_simulated": [
            {"rule": rule.name, "metric": rule.metric.name} for rule in found.fitted.left_out
        ],
        "scenarios": [
            {
                "scenario": one.scenario.text,
                "completed": part_document(one.endings[Ending.COMPLETED]),
                "stopped": part_document(
                    part_of(sum(one.endings[ending].count for ending in STOPS), found.runs)
                ),
                "stopped_by": dict(one.stopped_by),
                "pinned": pinned_document(one.pinned),
                "until_stop_s": spread_document(one.stop, times=MINUTE_S),
                "wrong_answers_served": spread_document(one.wrong_served),
            }
            for one in found.summaries
        ],
        "healthy_stops": [
            {"step": one.step + 1, "rules": list(one.rules), **part_document(one.part)}
            for one in found.healthy_stops
        ],
    }


def _bill(bill: Bill) -> Document:
    return {
        "span_s": bill.span.total_seconds(),
        "requests": bill.requests,
        "input_tokens": bill.input_tokens,
        "output_tokens": bill.output_tokens,
        "rollout_usd": bill.rollout_usd,
        "baseline_usd": bill.baseline_usd,
        "steps_usd": list(bill.steps_usd),
        "shadow_pair_usd": bill.pair_usd,
    }


def _place(plan: Plan, step: int, rule: Rule, intent: str | None) -> Document:
    return {
        "step": step + 1,
        "share_bp": plan.share_at(step),
        "rule": rule.name,
        "intent": intent,
    }


def _quantiles(two: tuple[float | None, float | None]) -> Document:
    median, most = two
    return {"median": median, "p90": most}


def _seconds(spans: tuple[timedelta | None, timedelta | None]) -> Document:
    median, most = (None if one is None else one.total_seconds() for one in spans)
    return {"median": median, "p90": most}
