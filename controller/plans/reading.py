"""What a plan's second parse is read against, and how its refusals find their place."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from controller.plans.document import Node, Problems, Scalar
from controller.plans.models import ModelTable
from controller.plans.schema_base import Shape
from controller.plans.units import UnitError, parse_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a plan is read against. With `partial`, some of the file had no shape, and nothing is said about
    what may be missing because of that."""

    problems: Problems
    models: ModelTable
    today: date
    partial: bool

    def refuse(self, shape: Shape, key: str, message: str) -> None:
        """Report a problem at the value of a key; at the object itself where the key was left out."""
        entry = shape.node.entries.get(key)
        if entry is None:
            self.problems.add(shape.node.place, shape.node.path, message)
        else:
            self.problems.add(entry.value.place, entry.value.path, message)

    def refuse_node(self, node: Node, message: str) -> None:
        self.problems.add(node.place, node.path, message)


def had(shape: Shape, key: str) -> bool:
    """Whether the file has the key, even with a value that has no shape."""
    return key in shape.node.entries


def was_read(shape: Shape, key: str, span: timedelta) -> bool:
    """Whether a duration is the one that the file has, and does not stand in for one that has no shape."""
    entry = shape.node.entries.get(key)
    try:
        return (
            entry is not None
            and isinstance(entry.value, Scalar)
            and parse_duration(entry.value.text) == span
        )
    except UnitError:
        return False
