from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from ruamel.yaml import YAML

from controller.errors import NotFound
from controller.plans.explain import explain
from controller.plans.json_schema import json_schema
from controller.plans.units import parse_limit
from controller.rollout.metrics import CATALOGUE
from tests.plans.factories import ROOT, SAMPLES, plan_text, with_spec

EXPORTED = ROOT / "controller" / "plans" / "rollout-plan.schema.json"
SCHEMA = json_schema()
KINDS: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


def violations(value: Any, schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """What is wrong with a value, by the part of JSON Schema that ours uses. It knows no other keyword."""
    schema = (
        {**SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[1]], **schema}
        if "$ref" in schema
        else schema
    )
    if "anyOf" in schema:
        if all(any(violations(value, branch, path)) for branch in schema["anyOf"]):
            yield f"{path}: no branch fits"
        return
    if not isinstance(value, KINDS[schema["type"]]) or (
        isinstance(value, bool) and schema["type"] != "boolean"
    ):
        yield f"{path}: {value!r} is no {schema['type']}"
    elif isinstance(value, dict):
        known = schema.get("properties", {})
        yield from (
            f"{path}.{key}: missing" for key in schema.get("required", ()) if key not in value
        )
        if schema["additionalProperties"] is False:
            yield from (f"{path}.{key}: unknown" for key in value if key not in known)
        for key in known.keys() & value.keys():
            yield from violations(value[key], known[key], f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from violations(item, schema["items"], f"{path}[{index}]")
    elif isinstance(value, str):
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{path}: {value!r} does not match {schema['pattern']}"
        if "enum" in schema and value not in schema["enum"]:
            yield f"{path}: {value!r} is none of {schema['enum']}"


def parsed(text: str) -> Any:
    data = YAML(typ="safe", pure=True).load(text)
    return json.loads(json.dumps(data, default=lambda moment: f"{moment.isoformat()}Z"))


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for value in schema.values():
            yield from objects(value)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_plan_fits_the_schema(path):
    assert list(violations(parsed(path.read_text()), SCHEMA)) == []


@pytest.mark.parametrize(
    ("text", "violation"),
    [
        (plan_text(("share: 10%", "share: 10")), ".spec.steps[0].share: 10 is no string"),
        (plan_text(("hold: 72h", "hold: 3 days")), ".spec.steps[0].hold: '3 days' does not match"),
        (
            plan_text(("unit: conversation", "unit: planet")),
            ".spec.assignment.unit: 'planet' is none of",
        ),
        (with_spec("holdbck: 1%"), ".spec.holdbck: unknown"),
    ],
)
def test_an_editor_sees_what_the_loader_would_refuse(text: str, violation: str):
    assert any(found.startswith(violation) for found in violations(parsed(text), SCHEMA))


def test_the_exported_schema_is_current():
    # To renew it: python -c "from controller.plans.json_schema import schema_text; print(schema_text(), end='')" > FILE
    assert json.loads(EXPORTED.read_text(encoding="utf-8")) == SCHEMA


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_plan_tells_editors_where_the_schema_is(path):
    header = path.read_text(encoding="utf-8").splitlines()[0]

    assert header == "# yaml-language-server: $schema=../controller/plans/rollout-plan.schema.json"
    assert (path.parent / header.split("$schema=")[1]).resolve() == EXPORTED


def test_every_object_is_closed_and_every_field_is_described():
    described = [schema for schema in objects(SCHEMA) if schema.get("properties")]

    assert len(described) > 20
    for schema in described:
        assert schema["additionalProperties"] is False
        for name, field in schema["properties"].items():
            assert field.get("description") or field.get("$ref"), name
            assert "node" not in name


def test_defaults_are_written_as_in_a_plan():
    spec = SCHEMA["$defs"]["SpecShape"]["properties"]

    defaults = {
        key: spec[key]["default"] for key in ("holdback", "alpha", "maxBlind", "pauseDeadline")
    }
    assert defaults == {"holdback": "0%", "alpha": "5%", "maxBlind": "30m", "pauseDeadline": "24h"}
    assert spec["pauseShare"]["default"] == "hold"
    assert spec["acceptCostIncrease"]["default"] is False


def test_explain_says_type_unit_and_meaning_of_a_field():
    assert explain("spec.steps.share") == (
        "KIND:       RolloutPlan\n"
        "VERSION:    canaryctl.dev/v1alpha1\n"
        "\n"
        "FIELD:      spec.steps.share <string> -required-\n"
        "UNIT:       share of traffic, % or bp\n"
        "WRITTEN:    a share such as `10%`, `0.1%` or `50bp`\n"
        "\n"
        "DESCRIPTION:\n"
        "  The candidate's part of traffic; rises from step to step.\n"
    )


def test_explain_says_default_and_allowed_values():
    text = explain("spec.rules[0].evidence")

    assert "DEFAULT:    observed\n" in text
    assert "ALLOWED:    observed, confident\n" in text


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (
            "spec.rules.minWindow",
            ["DEFAULT:    1m\n", "The shortest stretch that a proof may blame"],
        ),
        ("spec.rules.alpha", ["UNIT:       % or bp\n", "This rule's part of the plan's alpha"]),
        ("spec.steps.deadline", ["UNIT:       s, m, h or d\n", "Not shorter than `hold`."]),
    ],
)
def test_explain_says_what_proofs_may_blame_and_spend_and_when_a_step_is_late(
    path: str, said: list[str]
):
    text = explain(path)

    assert "STATUS:" not in text
    assert all(one in text for one in said)


def test_explain_lists_what_is_in_an_object():
    assert "  share <string> -required-\n    The candidate's part of traffic" in explain(
        "spec.steps"
    )
    assert "  spec <object> -required-\n" in explain()


def test_explain_says_an_objects_description_once_and_a_lists_with_that_of_its_items():
    assert explain("spec.notify.slack").count("Slack channels.") == 1
    steps = explain("spec.steps")
    assert "Shares to go through" in steps
    assert "A share to hold, for how long" in steps
    assert explain("spec.rules").count("When the candidate has failed") == 1
    assert explain("spec.freeze").count("nothing advances") == 1


def test_explain_lists_the_metrics_with_how_a_limit_of_each_is_written():
    text = explain("spec.rules.metric")

    assert all(f"\n  {name} " in text for name in CATALOGUE)
    metric = SCHEMA["$defs"]["RuleShape"]["properties"]["metric"]
    for name, how in metric["x-limits"].items():
        parse_limit(CATALOGUE[name], re.findall("`(.*?)`", how)[0])


def test_explain_says_what_is_not_supported_yet():
    assert "STATUS:     not supported yet\n" in explain("spec.shadow")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("spec.steps.shar", "no field `shar` in spec.steps (did you mean `share`?)"),
        ("specs", "no field `specs` in the plan (did you mean `spec`?)"),
        ("spec.bake.unit", "`spec.bake` has no fields, so there is no `unit` in it"),
        ("spec..steps", "no field `` in spec"),
    ],
)
def test_explain_does_not_find_what_is_not_there(path: str, message: str):
    with pytest.raises(NotFound) as caught:
        explain(path)

    assert str(caught.value).startswith(message)


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    return SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema


def every_path(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    inner = resolved(resolved(schema).get("items", schema))
    for name, child in inner.get("properties", {}).items():
        below = f"{path}.{name}" if path else name
        yield below
        yield from every_path(child, below)


def test_every_field_can_be_explained():
    paths = list(every_path(SCHEMA))

    assert len(paths) > 100
    assert all("DESCRIPTION:\n  " in explain(path) for path in paths)
