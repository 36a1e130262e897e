"""The JSON Schema of a plan, for editors and for `explain`."""

from __future__ import annotations

import json
from collections.abc import Mapping as AbstractMapping
from datetime import timedelta
from enum import StrEnum
from fractions import Fraction
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from controller.plans.schema import KIND, PlanShape
from controller.rollout.units import format_duration, format_percent

SCHEMA_ID = "https://canaryctl.dev/schemas/v1alpha1/rollout-plan.schema.json"


class _Generator(GenerateJsonSchema):
    """Defaults as they would be written in a plan."""

    def encode_default(self, dft: Any) -> Any:
        match dft:
            case timedelta():
                return format_duration(dft)
            case Fraction():
                return format_percent(float(dft))
            case StrEnum():
                return dft.value
            case _:
                return super().encode_default(dft)


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a plan, with units, defaults and descriptions."""
    schema = PlanShape.model_json_schema(schema_generator=_Generator)
    body = _without_noise(schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": KIND,
        **{key: value for key, value in body.items() if key != "title"},
    }


def schema_text() -> str:
    """The schema as it is exported: `canaryctl schema`, and the file that sample plans point editors at."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _without_noise(value: Any) -> Any:
    """Drop generated titles and null branches (a key is left out, never null); say what is not supported."""
    if isinstance(value, list):
        return [_without_noise(item) for item in value]
    if not isinstance(value, AbstractMapping):
        return value
    node = {key: _without_noise(item) for key, item in value.items()}
    if isinstance(node.get("title"), str):
        del node["title"]
    if "default" in node and node["default"] is None:
        del node["default"]
    branches = [one for one in node.get("anyOf", ()) if one != {"type": "null"}]
    if len(branches) == 1:
        del node["anyOf"]
        node = {**branches[0], **node}
    if node.get("x-supported") is False:
        node["description"] = f"Not supported yet. {node.get('description', '')}".strip()
    return node
