"""First parse of a plan: nodes -> shape, with every complaint in our own words and at its own place."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from controller.plans import leaves
from controller.plans.document import Mapping, Node, Place, Problems, Scalar, Sequence, parse
from controller.plans.nearest import did_you_mean, nearest
from controller.plans.schema import PlanShape
from controller.plans.schema_base import NODE_KEY, NotYet, Open, Shape
from controller.plans.units import shown

Loc = tuple[str | int, ...]
_MOST_PASSES = 12  # each pass prunes at least one level; the format is 6 levels deep


class Read(NamedTuple):
    """A file's shape, and whether it is the shape of the whole file or of what was left after pruning."""

    shape: PlanShape | None
    whole: bool


def read_shape(root: Mapping, problems: Problems) -> Read:
    """The file's shape. Where parts are wrong, the shape of the rest, so that its meaning is judged too.

    The shape is None when too little is left. `problems` says all that was wrong; a field without effect yet is one.
    """
    _refuse_not_yet(root, PlanShape, problems)
    data = _data(root)
    shape, errors = _validate(data)
    whole = shape is not None
    unknown = _unknown_keys(errors)
    for error in errors:
        if not _is_misspelt(error, unknown):
            _report(error, root, problems)
    for _ in range(_MOST_PASSES):
        if shape is not None:
            break
        _prune(data, errors)
        if not _fill(data):
            break
        shape, errors = _validate(data)
    return Read(shape, whole)


def _data(node: Node) -> Any:
    """Plain dicts and lists for pydantic; scalars stay nodes, and each dict carries its own."""
    match node:
        case Scalar():
            return node
        case Sequence(items=items):
            return [_data(item) for item in items]
        case Mapping(entries=entries):
            data: dict[str, Any] = {key: _data(entry.value) for key, entry in entries.items()}
            return {NODE_KEY: node, **data}


def _validate(data: Any) -> tuple[PlanShape | None, list[ErrorDetails]]:
    try:
        return PlanShape.model_validate(data), []
    except ValidationError as error:
        return None, error.errors(include_url=False, include_input=False)


def _report(error: ErrorDetails, root: Mapping, problems: Problems) -> None:
    loc = error["loc"]
    parent, node, place = _locate(root, loc)
    path = parent.path if node is None else node.path
    match error["type"]:
        case "extra_forbidden":
            hint = _did_you_mean_key(str(loc[-1]), list(_fields(shape_at(loc[:-1]))))
            message = f"unknown key {shown(str(loc[-1]))}{hint}"
            problems.add(place, parent.path, message)
        case "missing":
            message = (
                f"the key `{loc[-1]}` is missing; expected {_wanted(shape_at(loc[:-1]), loc[-1])}"
            )
            problems.add(parent.place, parent.path, message)
        case "plan":
            problems.add(place, path, str(error["ctx"]["message"]))
        case "list_type":
            problems.add(place, path, f"expected a list, found {leaves.describe(node)}")
        case _:
            wanted, found = _object_words(shape_at(loc)), leaves.describe(node)
            problems.add(place, path, f"expected {wanted}, found {found}")


def _locate(root: Mapping, loc: Loc) -> tuple[Node, Node | None, Place]:
    """The container, the node itself (None for a missing key) and the place to point at.

    An unknown key is pointed at where it stands; everything else at its value.
    """
    parent: Node = root
    node: Node | None = root
    place = root.place
    for step in loc:
        parent = node if node is not None else parent
        node = None
        if isinstance(parent, Mapping) and (entry := parent.entries.get(str(step))) is not None:
            node, place = entry.value, entry.value.place
        elif isinstance(parent, Sequence) and isinstance(step, int):
            node, place = parent.items[step], parent.items[step].place
    if loc and isinstance(parent, Mapping) and str(loc[-1]) in parent.entries:
        known = _fields(shape_at(loc[:-1]))
        if str(loc[-1]) not in known:
            place = parent.entries[str(loc[-1])].key_place
    return parent, node, place


def shape_at(loc: Loc) -> type[BaseModel] | None:
    """The model of the object at a place of the file; None for a scalar, a list or an unknown key."""
    model: type[BaseModel] | None = PlanShape
    for step in loc:
        if isinstance(step, int):
            continue
        field = _fields(model).get(step)
        model = None if field is None else next(_models_in(field.annotation), None)
    return model


@cache
def _fields(model: type[BaseModel] | None) -> dict[str, FieldInfo]:
    """The fields of an object by the keys of the file."""
    if model is None:
        return {}
    keyed = {field.alias or name: field for name, field in model.model_fields.items()}
    return {key: field for key, field in keyed.items() if key != NODE_KEY}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for argument in typing.get_args(annotation):
        yield from _models_in(argument)


def _did_you_mean_key(word: str, known: list[str]) -> str:
    # A key that differs only in how words are joined (`min_samples`, `min-samples`) is what was meant.
    plain = word.replace("_", "").replace("-", "").lower()
    for key in known:
        if key.lower() == plain:
            return f" (did you mean `{key}`?)"
    return did_you_mean(word, known)


def _wanted(model: type[BaseModel] | None, key: str | int) -> str:
    field = _fields(model).get(str(key))
    if field is None:
        return "it"
    for extra in field.metadata:
        if isinstance(extra, leaves.Leaf):
            return extra.expects
    if typing.get_origin(field.annotation) is list:
        return "a list"
    return _object_words(next(_models_in(field.annotation), None))


def _object_words(model: type[BaseModel] | None) -> str:
    keys = list(_fields(model))
    if not keys:
        return "an object"
    return f"an object with {', '.join(keys[:6])}{' …' if len(keys) > 6 else ''}"


def _unknown_keys(errors: list[ErrorDetails]) -> dict[Loc, list[str]]:
    """The unknown keys of each object."""
    found: dict[Loc, list[str]] = {}
    for error in errors:
        if error["type"] == "extra_forbidden":
            found.setdefault(error["loc"][:-1], []).append(str(error["loc"][-1]))
    return found


def _is_misspelt(error: ErrorDetails, unknown: dict[Loc, list[str]]) -> bool:
    """Whether a key is only missing because it is misspelt, which has its own message."""
    if error["type"] != "missing":
        return False
    *parent, key = error["loc"]
    return any(nearest(word, (str(key),)) for word in unknown.get(tuple(parent), ()))


def _prune(data: Any, errors: list[ErrorDetails]) -> None:
    """Take out what was wrong: a wrong value, or the object in which a key is missing."""
    doomed = {e["loc"][:-1] if e["type"] == "missing" else e["loc"] for e in errors}
    # Later items first, so that indexes before them keep their meaning.
    for loc in sorted(doomed, key=lambda loc: [str(step).zfill(9) for step in loc], reverse=True):
        if loc:
            _take_out(data, loc)


# Stands in for required parts that are missing or wrong, so that the meaning of the rest is judged all the same.
# The arms are free of charge, and accepted, so that nothing can be said about their cost.
_STAND_IN = """
apiVersion: canaryctl.dev/v1alpha1
kind: RolloutPlan
metadata: {name: nameless}
spec:
  baseline: {model: some-baseline, price: {input: 0 USD, output: 0 USD}}
  candidate: {model: some-candidate, price: {input: 0 USD, output: 0 USD}}
  assignment: {unit: conversation}
  intents: []
  traffic: {gateway: {}}
  steps: []
  rules: []
"""

# A rule with a wrong word in these is still judged for its metric, limit and intents.
_LEAF_STAND_INS = {"then": "notify", "window": "1h"}


def _fill(data: Any) -> bool:
    """Put the stand-in where a required part was taken out. False if the file has no `spec` to judge."""
    (root,) = parse(_STAND_IN, Problems("stand-in"))
    stand_in = _data(root)
    spec = data.get("spec")
    if not isinstance(spec, dict):
        return False
    if "baseline" not in spec or "candidate" not in spec:
        spec["acceptCostIncrease"] = Scalar(root.place, "true", quoted=False)
    for key, value in stand_in["spec"].items():
        spec.setdefault(key, value)
    for key, value in stand_in.items():
        data.setdefault(key, value)
    return True


def _take_out(data: Any, loc: Loc) -> None:
    try:
        for step in loc[:-1]:
            data = data[step]
        wrong = data.pop(loc[-1])
    except (KeyError, IndexError, TypeError):
        return  # taken out before, with something around it
    stand_in = _LEAF_STAND_INS.get(str(loc[-1]))
    if stand_in is not None and isinstance(wrong, Scalar):
        data[loc[-1]] = Scalar(wrong.place, stand_in, quoted=False, path=wrong.path)


def _refuse_not_yet(root: Mapping, model: type[BaseModel], problems: Problems) -> None:
    fields = _fields(model)
    for key, entry in root.entries.items():
        field = fields.get(key)
        if field is None:
            continue
        if any(isinstance(extra, NotYet) for extra in field.metadata):
            problems.add(
                entry.key_place,
                entry.value.path,
                f"`{key}` is not supported yet, so it would have no effect; remove it",
            )
        inner = next(_models_in(field.annotation), None)
        if inner is None or inner is Open or not issubclass(inner, Shape):
            continue
        values = entry.value.items if isinstance(entry.value, Sequence) else [entry.value]
        for value in values:
            if isinstance(value, Mapping):
                _refuse_not_yet(value, inner, problems)
