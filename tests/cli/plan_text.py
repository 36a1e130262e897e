"""A small plan as it is written, of which a test names what matters: its steps and rules, in YAML's short form."""

from __future__ import annotations

INTENTS = "[{name: refund, critical: true}, {name: other}, {name: legal, pin: baseline}]"


def plan_text(
    *,
    steps: tuple[str, ...],
    rules: tuple[str, ...],
    unit: str = "conversation",
    intents: str = INTENTS,
) -> str:
    """A plan named `small`, from gpt-4.1 to gpt-4.1-mini, whose labels take an hour."""
    head = f"""\
apiVersion: canaryctl.dev/v1alpha1
kind: RolloutPlan
metadata: {{name: small}}
spec:
  baseline: {{model: gpt-4.1}}
  candidate: {{model: gpt-4.1-mini}}
  assignment: {{unit: {unit}}}
  intents: {intents}
  labels: {{delay: 1h, horizon: 7d}}
  traffic: {{gateway: {{}}}}
"""
    listed = [
        line
        for name, items in (("steps", steps), ("rules", rules))
        for line in (f"  {name}:", *(f"    - {{{item}}}" for item in items))
    ]
    return head + "\n".join(listed) + "\n"
