"""`canaryctl check`: what a valid plan may not have meant. Pure. Only errors keep `apply` from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from itertools import accumulate

from controller.plans import cost
from controller.plans.finding import Finding, by_level, error, info, rounded, warning
from controller.plans.lint_labels import on_labels
from controller.rollout.evidence.caps import most_nusd
from controller.rollout.evidence.rules import alpha_left, alpha_of, is_provable, sharing
from controller.rollout.metrics import PER_HOUR, Kind
from controller.rollout.plan import (
    FULL_BP,
    Advance,
    Arm,
    Evidence,
    Intent,
    ModelRef,
    PauseShare,
    Plan,
    Rule,
    Scope,
)
from controller.rollout.state import Epoch
from controller.rollout.timeline import EPOCH, MINUTE
from controller.rollout.units import (
    format_duration,
    format_share,
)

HALF_BP = FULL_BP // 2
USUAL_HOLDBACK_BP = 100


def check(plan: Plan, *, today: date) -> tuple[Finding, ...]:
    """Every finding on a plan that would start today: errors first, then warnings, then what is good to know."""
    return by_level([*_on_models(plan, today), *(one for lint in _LINTS for one in lint(plan))])


def traffic_not_told() -> Finding:
    """What cannot be checked without traffic, and how to ask for it."""
    return info(
        "traffic-not-told",
        "spec.steps",
        "whether holds, windows and samples are enough to decide depends on the traffic; ask with "
        "`canaryctl check PLAN --units-per-day N --intent-share NAME=PERCENT`, or where the store has history of it",
    )


def history_not_read(why: str) -> Finding:
    """Nothing was learnt from the store, and why."""
    return info(
        "history-not-read",
        "spec.steps",
        f"nothing was learnt from the store: {why} `--no-history` leaves it out",
    )


# -- models and money -------------------------------------------------------------------------------------------------


def _on_models(plan: Plan, today: date) -> Iterator[Finding]:
    for arm, ref in (("baseline", plan.baseline), ("candidate", plan.candidate)):
        path = f"spec.{arm}.model"
        if ref.price is None:
            message = f"no price is known for {ref.model}; rules about cost would be UNMEASURED"
            yield warning("missing-price", path, f"{message}; give its `price:`")
        if ref.shutdown is not None:
            yield _retirement(plan, arm, ref, ref.shutdown, today)
    yield from _limits(plan)
    yield from _cost(plan)


def _retirement(plan: Plan, arm: str, ref: ModelRef, shutdown: date, today: date) -> Finding:
    path = f"spec.{arm}.model"
    if shutdown <= today:
        return error(
            "retired", path, f"{ref.model} was shut down on {shutdown}; nothing answers there"
        )
    end = today + plan.horizon
    if end >= shutdown:
        lost = (
            "a rollback would have nowhere to go" if arm == "baseline" else "its traffic would fail"
        )
        return warning(
            "retires-during-plan",
            path,
            f"{ref.model} is shut down on {shutdown}, before this plan could end on {end} "
            f"(holds and bake: {format_duration(plan.horizon)}): from then on {lost}. "
            "Start earlier, shorten the plan, or move to another model",
        )
    days = (shutdown - today).days
    return warning(
        "retires",
        path,
        f"{ref.model} is shut down on {shutdown}, in {days} days; "
        f"this plan could end on {end} if nothing holds it",
    )


def _limits(plan: Plan) -> Iterator[Finding]:
    for what, old, new in (
        ("context window", plan.baseline.context_window, plan.candidate.context_window),
        ("output limit", plan.baseline.output_limit, plan.candidate.output_limit),
    ):
        if old is not None and new is not None and new < old:
            yield warning(
                "smaller-limit",
                "spec.candidate.model",
                f"the {what} of {plan.candidate.model} is {new:,} tokens against {old:,} on "
                f"{plan.baseline.model}; larger requests stay on the baseline and are not compared",
            )


def _cost(plan: Plan) -> Iterator[Finding]:
    new, old = plan.candidate.price, plan.baseline.price
    if new is None or old is None:
        return
    words = cost.per_request(plan.candidate, plan.baseline)
    if not cost.is_dearer(new, old):
        yield info("cost", "spec.candidate.model", words)
    elif plan.accept_cost_increase:
        yield warning("cost", "spec.candidate.model", f"{words}; the plan accepts this")
    else:
        needed = "write `acceptCostIncrease: true` under `spec` if that is wanted"
        yield error("cost", "spec.candidate.model", f"{words}; {needed}")


# -- steps ------------------------------------------------------------------------------------------------------------


def _rising_shares(plan: Plan) -> Iterator[Finding]:
    shares = [plan.share_at(index) for index in range(len(plan.steps))]
    for index in range(1, len(shares)):
        asked, before = plan.steps[index].share_bp, plan.steps[index - 1].share_bp
        path = f"spec.steps[{index}].share"
        if asked <= before:
            message = f"{format_share(asked)} does not rise above {format_share(before)}"
            yield error("shares-fall", path, f"{message} of the step before")
        elif shares[index] <= shares[index - 1]:
            message = (
                f"with a holdback of {format_share(plan.holdback_bp)} this step is in force at "
            )
            yield warning(
                "step-without-effect",
                path,
                f"{message}{format_share(shares[index])}, as the one before",
            )


def _deadlines(plan: Plan) -> Iterator[Finding]:
    for index, step in enumerate(plan.steps):
        if step.deadline is not None and step.deadline == step.hold:
            person = ", or a person who takes one to approve," if step.approval else ""
            yield warning(
                "deadline-at-hold",
                f"spec.steps[{index}].deadline",
                f"the deadline of {format_duration(step.deadline)} is over when the hold is: "
                f"one minute out of force{person} has the step told as stuck; write a longer one",
            )


def _last_share(plan: Plan) -> Iterator[Finding]:
    last = plan.steps[-1].share_bp
    path = f"spec.steps[{len(plan.steps) - 1}].share"
    if last < FULL_BP:
        yield info(
            "not-all-traffic", path, f"the plan is complete at {format_share(last)}, not at 100%"
        )
        if 0 < plan.holdback_bp <= FULL_BP - last:
            yield warning(
                "holdback-without-effect",
                "spec.holdback",
                f"{format_share(FULL_BP - last)} stays on the baseline anyway",
            )


def _proof(plan: Plan) -> Iterator[Finding]:
    """Steps whose proof can never come: only a loss rule that judges an intent on its own proves it."""
    proving = {
        name
        for rule in plan.rules
        if rule.metric.kind is Kind.LOSS
        for name in plan.judged_intents(rule)
    }
    critical = [intent.name for intent in plan.intents if intent.critical]
    unproven = [name for name in critical if name not in proving]
    for index, step in enumerate(plan.steps[:-1]):
        if not _asks_for_proof(plan, index):
            continue
        path = f"spec.steps[{index}].advance"
        if not critical:
            yield warning(
                "nothing-to-prove",
                path,
                f"leaving {format_share(step.share_bp)} asks for proof on critical intents, and none "
                "is marked; nothing is proven before most of the traffic moves",
            )
        elif unproven:
            yield warning(
                "cannot-be-proven",
                path,
                f"leaving {format_share(step.share_bp)} asks for proof, and no rule on accuracy_delta "
                f"judges {', '.join(unproven)} on its own: the step could only be left by `promote`",
            )


def _asks_for_proof(plan: Plan, index: int) -> bool:
    asked = plan.steps[index].advance
    return asked is Advance.PROVEN or (asked is None and plan.share_at(index + 1) > HALF_BP)


# -- rules ------------------------------------------------------------------------------------------------------------


def _windows(plan: Plan) -> Iterator[Finding]:
    for index, rule in enumerate(plan.rules):
        path = f"spec.rules[{index}].window"
        if rule.window > plan.horizon:
            yield warning(
                "window-longer-than-plan",
                path,
                f"{rule.name}: a window of {format_duration(rule.window)} is longer than the whole plan "
                f"({format_duration(plan.horizon)} of holds and bake), so it is never complete{_unproven(plan, rule)}",
            )
        elif rule.metric.labelled and rule.window > plan.labels.horizon:
            yield warning(
                "window-longer-than-labels",
                path,
                f"{rule.name}: a window of {format_duration(rule.window)} is longer than labels are taken "
                f"({format_duration(plan.labels.horizon)})",
            )
        else:
            yield from _late_verdict(plan, rule, path)


def _unproven(plan: Plan, rule: Rule) -> str:
    if rule.least_window <= plan.horizon:
        return ""
    return f", and with a {_least(rule)} of {format_duration(rule.least_window)} nothing is ever proven"


def _least(rule: Rule) -> str:
    """The field that says which windows are too short to be blamed."""
    return "minWindow" if rule.min_window >= rule.sustained else "`for`"


def _late_verdict(plan: Plan, rule: Rule, path: str) -> Iterator[Finding]:
    """Steps that can be left before the rule's first window is complete."""
    delay = plan.labels.delay if rule.metric.labelled else timedelta(0)
    complete = delay + rule.window
    left_at = list(accumulate(step.hold for step in plan.steps[:-1]))
    early = [index for index, moment in enumerate(left_at) if moment < complete]
    if not early:
        return
    step = early[-1]
    labels = f" and labels {format_duration(delay)} later" if delay else ""
    message = (
        f"{rule.name}: the first complete window ({format_duration(rule.window)}{labels}) is there after "
        f"{format_duration(complete)}, and step {step + 1} ({format_share(plan.steps[step].share_bp)}) "
        f"can be left after {format_duration(left_at[step])}"
    )
    if rule.least_window > MINUTE and delay + rule.least_window > left_at[step]:
        yield warning(
            "late-verdict",
            path,
            f"{message}; no proof comes before either, with a {_least(rule)} of "
            f"{format_duration(rule.least_window)}; use {_sooner(plan, rule, delay, left_at[step])}",
        )
    elif rule.evidence is Evidence.CONFIDENT:
        yield info("late-verdict", path, f"{message}; until then only the confident form speaks")
    else:
        yield warning(
            "late-verdict", path, f"{message}; use {_sooner(plan, rule, delay, left_at[step])}"
        )


def _sooner(plan: Plan, rule: Rule, delay: timedelta, left_at: timedelta) -> str:
    """`hold 30h in step 1 or window 12h`: what has a first verdict there before any step can be left. A rule by proof
    alone may go on to prove, so its shortest window is enough, at the last step that is left too early.
    """
    first = plan.steps[0]
    by_proof = rule.evidence is Evidence.CONFIDENT
    hold = delay + (rule.least_window if by_proof else rule.window)
    told = f"hold {format_duration(hold)} in step 1"
    if first.deadline is not None and first.deadline <= hold:
        told += " with a longer deadline"
    field, most, least = "window", first.hold - delay, rule.min_window
    if by_proof:
        field, most = _least(rule).strip("`"), left_at - delay
        least = min(rule.min_window, rule.sustained)
    return f"{told} or {field} {format_duration(most)}" if most >= max(least, MINUTE) else told


def _alphas(plan: Plan) -> Iterator[Finding]:
    """Parts of alpha that leave the other rules a tenth or less of what an even division would give them."""
    own = [index for index, rule in enumerate(plan.rules) if rule.alpha is not None]
    others = sharing(plan)
    if not own or not others:
        return
    provable = [rule for rule in plan.rules if is_provable(rule)]
    tests = sum(len(plan.judged_intents(rule)) for rule in provable)
    even, each = plan.alpha / max(tests, 1), alpha_of(plan, others[0], Epoch(number=0, start=EPOCH))
    if 10 * each <= even:
        yield warning(
            "little-alpha-left",
            f"spec.rules[{own[-1]}].alpha",
            f"{', '.join(rule.name for rule in others)}: {rounded(alpha_left(plan))} of the plan's alpha is left, "
            f"{rounded(each)} on each intent, where an even division gives {rounded(even)}; "
            "what is wrong there is proven late",
        )


def _unbounded_costs(plan: Plan) -> Iterator[Finding]:
    """Costs per correct answer that cannot be proven to keep their limit: nobody knows what a request can cost."""
    for index, rule in enumerate(plan.rules):
        if rule.metric.kind is not Kind.COST or not is_provable(rule):
            continue
        if most_nusd(plan, rule.arm or Arm.CANDIDATE) is None:
            yield info(
                "cost-without-bound",
                f"spec.rules[{index}].metric",
                f"{rule.name}: it can be proven to fail, never to pass: what a request can cost at most is not known; "
                "write `price`, `contextWindow` and `outputLimit` of both models",
            )


def _control(plan: Plan) -> Iterator[Finding]:
    last = len(plan.steps) - 1
    if plan.share_at(last) < FULL_BP:
        return
    # No more than half of what the last step adds, or it would be in force as the one before.
    held_bp = min(USUAL_HOLDBACK_BP, (FULL_BP - plan.share_at(last - 1)) // 2)
    held = f"write `holdback: {format_share(held_bp)}`" if held_bp else "lower the step before"
    for index, rule in enumerate(plan.rules):
        if rule.metric.comparing:
            yield warning(
                "no-control",
                f"spec.rules[{index}].metric",
                f"{rule.name}: {rule.metric.name} compares with the baseline, and at 100% without "
                f"holdback there is none: the rule is NOT_APPLICABLE there; {held}",
            )


def _spikes(plan: Plan) -> Iterator[Finding]:
    """Spikes of what is spent by one arm: its share rises by steps."""
    for index, rule in enumerate(plan.rules):
        if rule.usual is not None and rule.arm is not None and rule.metric.subject in PER_HOUR:
            yield warning(
                "spike-at-each-step",
                f"spec.rules[{index}].spike",
                f"{rule.name}: what the {rule.arm.value} spends an hour changes with its share, so a step alone may "
                "be a spike; leave `arm` out, or take `cost_per_1k`",
            )


def _intents(plan: Plan) -> Iterator[Finding]:
    names = {intent.name: intent for intent in plan.intents}
    for index, rule in enumerate(plan.rules):
        path = f"spec.rules[{index}].intents"
        for name in rule.intents:
            yield from _named_intent(rule, name, names.get(name), path)
        if rule.scope is not Scope.ALL and not plan.judged_intents(rule):
            yield warning(
                "judges-nothing",
                path,
                f"{rule.name}: no intent with candidate traffic is left to judge",
            )


def _named_intent(rule: Rule, name: str, intent: Intent | None, path: str) -> Iterator[Finding]:
    if intent is None:
        yield error("unknown-intent", path, f"{rule.name}: the plan has no intent {name}")
    elif intent.pinned:
        message = f"{rule.name}: {name} is pinned to the baseline, so it is never judged"
        yield warning("pinned-intent", path, message)


def _recoveries(plan: Plan) -> Iterator[Finding]:
    """Rules with `resume: auto` that cannot pass again before a pause becomes a rollback."""
    for index, rule in enumerate(plan.rules):
        path = f"spec.rules[{index}].resume"
        delay = plan.labels.delay if rule.metric.labelled else timedelta(0)
        is_too_long = rule.window + delay >= plan.pause_deadline
        if rule.auto_resume and plan.pause_share is PauseShare.ZERO:
            longer = f" and a `pauseDeadline` of more than {format_duration(rule.window + delay)},"
            yield warning(
                "cannot-recover",
                path,
                f"{rule.name}: with `pauseShare: 0%` the candidate has no traffic while paused, so the rule never "
                f"passes again; write `pauseShare: hold`{longer * is_too_long} or leave `auto` out",
            )
        elif rule.auto_resume and is_too_long:
            yield warning(
                "cannot-recover",
                path,
                f"{rule.name}: a whole window after what failed ({format_duration(rule.window + delay)}) is not there "
                f"before the pause becomes a rollback ({format_duration(plan.pause_deadline)}); lengthen "
                "`pauseDeadline` or leave `auto` out",
            )


def _notices(plan: Plan) -> Iterator[Finding]:
    if plan.slack is None and plan.webhook is None:
        yield info("nobody-told", "spec.notify", "nobody is told of a pause; write `notify:`")


_LINTS: tuple[Callable[[Plan], Iterator[Finding]], ...] = (
    on_labels,
    _rising_shares,
    _deadlines,
    _last_share,
    _proof,
    _windows,
    _alphas,
    _unbounded_costs,
    _control,
    _spikes,
    _intents,
    _recoveries,
    _notices,
)
