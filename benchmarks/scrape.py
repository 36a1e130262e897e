"""What a scrape of /metrics costs, by the number of rollouts and by how many were ticked since the last one.

python -m benchmarks.scrape
"""

from __future__ import annotations

from dataclasses import replace

from controller.clock import elapsed
from controller.ports import Head
from controller.rollout.decision import Action
from controller.rollout.plan import Intent
from controller.rollout.status import Status
from controller.rollout.verdict import Outcome, Verdict
from controller.telemetry.meters import Meters
from tests.rollout.factories import ESCALATION, NOW, at_step, plan, reading, seen

INTENTS = tuple(Intent(name=f"intent-{number}", critical=number < 2) for number in range(5))
RULES = tuple(replace(ESCALATION, name=f"rule-{number}") for number in range(8))
# Two of the rules are judged for one more intent each.
READINGS = (
    *(reading(rule) for rule in RULES),
    reading(RULES[0], "intent-0"),
    reading(RULES[1], "intent-1"),
)


def rollout(number: int) -> tuple[Head, Status]:
    name = f"plan-{number}"
    verdicts = tuple(
        Verdict(
            rule=one.rule,
            intent=one.intent,
            outcome=Outcome.PASS,
            observed=Outcome.PASS,
            confident=Outcome.PASS,
            reading=one,
        )
        for one in READINGS
    )
    status = Status(
        at=NOW,
        action=Action.HOLD,
        seen=replace(seen(), readings=READINGS),
        verdicts=verdicts,
        waits=(),
    )
    state = replace(at_step(0), name=name, rollout=f"{name}/1")
    of = replace(plan(), name=name, intents=INTENTS, rules=RULES)
    return Head(state=state, plan=of, seq=2, hash="h"), status


def scrape(meters: Meters, ticked: list[tuple[Head, Status]]) -> tuple[float, bytes]:
    for head, status in ticked:
        meters.judged(head, status, None)
    begun = elapsed()
    text = meters.expose()
    return elapsed() - begun, text


def main() -> None:
    print(f"{'rollouts':>9} {'all new':>9} {'a quarter':>10} {'none':>8} {'MB':>6} {'samples':>9}")
    for count in (100, 1_000, 10_000):
        rollouts, meters = [rollout(number) for number in range(count)], Meters()
        every, text = scrape(meters, rollouts)
        quarter, _ = scrape(meters, rollouts[: count // 4])
        none, _ = scrape(meters, [])
        samples = sum(not line.startswith(b"#") for line in text.splitlines())
        print(
            f"{count:9,} {every:8.2f}s {quarter:9.2f}s {none:7.2f}s {len(text) / 1e6:6.1f} {samples:9,}"
        )


if __name__ == "__main__":
    main()
