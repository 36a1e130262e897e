"""The alert rules and the dashboard that ship: they name metrics that are exported, with labels that those have."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from controller.telemetry import catalogue
from controller.telemetry.catalogue import Kind

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "manifests" / "monitoring"
PROMTOOL = shutil.which("promtool")
NO_PROMTOOL = "promtool is not installed; Debian's package is prometheus"
FAMILIES = {one.name: one for one in (*catalogue.PROCESS, *catalogue.ROLLOUT)}
OF_PROMETHEUS = {"job", "instance"}
METRIC = re.compile(r"\b(canary_[a-z_]+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r"([a-z_]+)\s*(?:=~|!~|!=|=)")


def rules():
    groups = YAML(typ="safe").load((FOLDER / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard():
    return json.loads((FOLDER / "dashboard.json").read_text())


def panels():
    return [one for one in dashboard()["panels"] if one["type"] != "row"]


def expressions():
    found = [rule["expr"] for rule in rules()]
    found += [target["expr"] for panel in panels() for target in panel["targets"]]
    found += [one["expr"] for one in dashboard()["annotations"]["list"]]
    found += [
        one["definition"] for one in dashboard()["templating"]["list"] if one["type"] == "query"
    ]
    return found


def family(name):
    """The metric that a name in an expression belongs to."""
    for suffix in ("_bucket", "_sum", "_count"):
        base = FAMILIES.get(name.removesuffix(suffix))
        if name.endswith(suffix) and base is not None and base.kind is Kind.HISTOGRAM:
            return base
    return FAMILIES.get(name)


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_names_metrics_and_labels_that_are_exported(expression):
    for name, inside in METRIC.findall(expression):
        known = family(name)
        assert known is not None, f"{name} is not exported"
        assert known.kind is not Kind.HISTOGRAM or name != known.name, f"{name} has no samples"
        labels = {*known.labels, *OF_PROMETHEUS}
        assert set(MATCHER.findall(inside)) <= labels, f"{name} has no such label"


def test_every_metric_that_asks_for_a_person_has_an_alert_or_a_panel():
    named = {family(name).name for text in expressions() for name, _ in METRIC.findall(text)}

    told_elsewhere = {"canary_attempt", "canary_step", "canary_steps", "canary_fence"}
    told_elsewhere |= {"canary_rollout_info", "canary_leader_renewal_age_seconds"}
    told_elsewhere |= {"canary_judged_timestamp_seconds"}
    assert set(FAMILIES) == named | told_elsewhere


def test_every_alert_says_how_bad_it_is_what_it_means_and_where_to_read_on():
    page = (ROOT / "docs" / "operation.md").read_text()
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["annotations"]["description"].endswith(".")
        assert rule["annotations"]["runbook"] == f"docs/operation.md#{rule['alert'].lower()}"
        assert f"#### {rule['alert']}\n" in page


def test_every_alert_has_a_case_in_which_it_fires():
    cases = YAML(typ="safe").load((FOLDER / "alerts_test.yaml").read_text())["tests"]
    fired = {
        one["alertname"]
        for case in cases
        for one in case["alert_rule_test"]
        if one.get("exp_alerts")
    }

    assert {rule["alert"] for rule in rules()} == fired


def test_panels_have_their_own_place_number_and_description():
    every = dashboard()["panels"]
    assert len({one["id"] for one in every}) == len(every)
    taken: set[tuple[int, int]] = set()
    for one in every:
        place = one["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (place["x"] + right, place["y"] + down)
            for right in range(place["w"])
            for down in range(place["h"])
        }
        assert not cells & taken, f"{one['title']} overlaps another panel"
        taken |= cells
    for one in panels():
        assert one["description"]
        assert one["datasource"]["uid"] == "${datasource}"
        assert [target["refId"] for target in one["targets"]]


@pytest.mark.skipif(PROMTOOL is None, reason=NO_PROMTOOL)
@pytest.mark.parametrize(
    "arguments",
    [("check", "rules", "alerts.yaml"), ("test", "rules", "alerts_test.yaml")],
    ids=["check", "test"],
)
def test_promtool_accepts_the_rules_and_they_fire_when_they_should(arguments):
    done = subprocess.run(
        [str(PROMTOOL), *arguments],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


@pytest.mark.skipif(PROMTOOL is None, reason=NO_PROMTOOL)
def test_promtool_can_read_every_expression_of_the_dashboard(tmp_path):
    found = [target["expr"] for panel in panels() for target in panel["targets"]]
    found += [one["expr"] for one in dashboard()["annotations"]["list"]]
    file = tmp_path / "expressions.yaml"
    records = [
        {"record": f"panel:{number}", "expr": text.replace("$__rate_interval", "1m")}
        for number, text in enumerate(found)
    ]
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": records}]}))

    done = subprocess.run(
        [str(PROMTOOL), "check", "rules", "--lint=none", str(file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_documents_tables_are_the_catalogue():
    page = (ROOT / "docs" / "operation.md").read_text()
    row = re.compile(r"^\| `(canary_\w+)` \| (\w+) \| (.+?) \| (.+?) \|$", re.MULTILINE)

    documented = [
        (name, kind, tuple(re.findall(r"`(\w+)`", labels)), meaning.lower())
        for name, kind, labels, meaning in row.findall(page)
    ]

    assert documented == [
        (one.name, one.kind.value, one.labels, one.meaning.rstrip(".").lower())
        for one in FAMILIES.values()
    ]
