"""`canaryctl explain spec.steps.share`: what a field of the plan is, from the schema that also checks it."""

from __future__ import annotations

import re
import textwrap
from functools import cache
from typing import Any

from controller.errors import NotFound
from controller.plans.json_schema import json_schema
from controller.plans.nearest import did_you_mean
from controller.plans.schema import API_VERSION, KIND

Schema = dict[str, Any]
_WIDTH = 96


def explain(path: str = "") -> str:
    """The documentation of a field, like `kubectl explain`; of the whole plan for an empty path.

    List indexes may be written or left out. NotFound with “did you mean” for an unknown path.
    """
    root = _schema()
    name, field, required = KIND, root, False
    walked: list[str] = []
    for step in _steps(path):
        parent = _object(field, root)
        children = parent.get("properties", {})
        if step not in children:
            raise NotFound(_unknown(step, walked, children))
        required = step in parent.get("required", ())
        name, field = step, children[step]
        walked.append(step)
    return _page(".".join(walked), name, field, root, required=required)


@cache
def _schema() -> Schema:
    return json_schema()  # 50 ms; read only


def _steps(path: str) -> list[str]:
    bare = re.sub(r"\[[0-9]*\]", "", path.strip()).strip(".")
    return bare.split(".") if bare else []


def _unknown(step: str, walked: list[str], children: Schema) -> str:
    where = ".".join(walked) or "the plan"
    if not children:
        return f"`{where}` has no fields, so there is no `{step}` in it"
    return f"no field `{step}` in {where}{did_you_mean(step, children)}"


def _resolve(field: Schema, root: Schema) -> Schema:
    """The field with what its `$ref` points at; its own words win."""
    reference = field.get("$ref")
    if reference is None:
        return field
    target: Schema = root["$defs"][str(reference).rsplit("/", 1)[-1]]
    return {**target, **field}


def _object(field: Schema, root: Schema) -> Schema:
    """The object that a field is, or that its list is made of."""
    resolved = _resolve(field, root)
    return _resolve(resolved["items"], root) if "items" in resolved else resolved


def _page(path: str, name: str, field: Schema, root: Schema, *, required: bool) -> str:
    resolved = _resolve(field, root)
    inner = _object(field, root)
    lines = [f"KIND:       {KIND}", f"VERSION:    {API_VERSION}", ""]
    lines += [
        f"FIELD:      {path or name} <{_type(field, root)}>{' -required-' if required else ''}"
    ]
    for label, value in _facts(resolved):
        lines.append(f"{label + ':':<12}{value}")
    lines += ["", "DESCRIPTION:", *_wrapped(str(resolved.get("description", "")))]
    of_items = str(inner.get("description", ""))
    if of_items != resolved.get("description"):
        lines += _wrapped(of_items)
    limits = resolved.get("x-limits", {})
    if limits:
        lines += ["", "KNOWN, with how a limit is written:"]
        lines += [f"  {name:<{max(map(len, limits))}}  {how}" for name, how in limits.items()]
    children = inner.get("properties", {})
    if children:
        lines += ["", "FIELDS:", *_children(inner, children, root)]
    return "\n".join(lines) + "\n"


def _facts(field: Schema) -> list[tuple[str, str]]:
    facts = [
        ("UNIT", field.get("x-unit")),
        ("DEFAULT", field.get("default")),
        ("ALLOWED", ", ".join(field["enum"]) if "enum" in field else None),
        ("WRITTEN", field.get("x-expects") if "enum" not in field else None),
        ("STATUS", "not supported yet" if field.get("x-supported") is False else None),
    ]
    return [(label, _yaml(value)) for label, value in facts if value is not None]


def _yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _type(field: Schema, root: Schema) -> str:
    resolved = _resolve(field, root)
    if "anyOf" in resolved:
        kinds = [_type(branch, root) for branch in resolved["anyOf"]]
        return " or ".join(dict.fromkeys(kinds))
    if resolved.get("type") == "array":
        return f"[]{_type(resolved['items'], root)}"
    return str(resolved.get("type", "object"))


def _children(inner: Schema, children: Schema, root: Schema) -> list[str]:
    required = inner.get("required", ())
    lines = []
    for name, child in children.items():
        mark = " -required-" if name in required else ""
        lines += [f"  {name} <{_type(child, root)}>{mark}"]
        lines += _wrapped(str(_resolve(child, root).get("description", "")), indent=4)
    return lines


def _wrapped(text: str, *, indent: int = 2) -> list[str]:
    margin = " " * indent
    return textwrap.wrap(text, _WIDTH, initial_indent=margin, subsequent_indent=margin)
