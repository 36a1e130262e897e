"""`doctor` as it is typed: one screen, an exit code, and no secret or traceback whatever is broken."""

from email.utils import format_datetime

import pytest
from ruamel.yaml import YAML

from controller.simulate.services.upstream import SimulatedModels, Skill
from tests.cli.world import PLAN, World
from tests.doctor.servers import answering, nowhere, serving

TOKEN = "link-token-0123456789"
SECRETS = {
    "CANARY_LINK_TOKEN": TOKEN,
    "CANARY_SLACK_TOKEN": "xoxb-very-secret",
    "CANARY_WEBHOOK_SECRET": "webhook-very-secret",
    "OPENAI_API_KEY": "sk-very-secret",
}


@pytest.fixture
def upstream(world):
    models = SimulatedModels({"gpt-4.1": Skill(), "gpt-4.1-mini": Skill()}, seed=1)
    app = models.app()

    async def at_the_worlds_time(_, answer):
        answer.headers["Date"] = format_datetime(world.clock.now(), usegmt=True)

    app.on_response_prepare.append(at_the_worlds_time)
    with serving(app) as address:
        yield f"http://{address}/v1"


@pytest.fixture
def around(upstream):
    """Everything that a healthy controller has around it, but for Slack."""
    ready = {"ready": True, "role": "leader", "checks": []}
    replica = {"name": "one", "lost": 0}
    with (
        answering("/readyz", ready) as ops,
        answering("/link/v1/status", {"replicas": [replica]}) as link,
    ):
        yield {
            "CANARY_UPSTREAM_URL": upstream,
            "CANARY_OPS_LISTEN": ops,
            "CANARY_LINK_LISTEN": link,
            "CANARY_LINK_TOKEN": TOKEN,
            "OPENAI_API_KEY": "sk-test",
        }


def alone():
    return {"CANARY_OPS_LISTEN": nowhere(), "CANARY_LINK_LISTEN": nowhere()}


def levels(answer):
    return {one["check"]: one["level"] for one in answer.json["checks"]}


def without_slack(text):
    return text[: text.index("  notify:")]


def test_a_rollout_with_everything_around_it_has_no_failed_check(world: World, around):
    world.started(without_slack(PLAN))

    answer = world.cli("doctor", "-o", "json", **around)

    found = levels(answer)
    assert answer.code == 0, answer.out
    assert answer.json["failed"] == 0
    assert found["database"] == found["schema"] == found["write"] == "ok"
    assert found["controller"] == found["link"] == found["upstream"] == found["slack"] == "ok"
    assert found["support-bot/1"] == "ok"
    assert found["support-bot: baseline answers"] == "ok"


def test_a_warning_fails_only_when_it_is_asked_to_be_strict(world: World):
    lenient = world.cli("doctor", **alone())
    strict = world.cli("doctor", "--strict", **alone())

    assert lenient.code == 0
    assert strict.code == 1
    assert "0 failed" in lenient.out.splitlines()[-1]


def test_a_failed_check_is_exit_1(world: World):
    (world.folder / "canary.db").touch()

    answer = world.cli("doctor", **alone())

    assert answer.code == 1
    assert "canaryctl db upgrade" in answer.out


def test_what_is_not_well_says_what_was_wanted_and_what_to_do(world: World):
    answer = world.cli("doctor", **alone())

    lines = answer.out.splitlines()
    place = next(n for n, line in enumerate(lines) if line.startswith("warning  database"))
    assert lines[place + 1].startswith("         wanted: ")
    assert lines[place + 2].startswith("         do: `canaryctl apply")


def test_settings_that_cannot_be_read_are_a_failed_check_and_the_last(world: World):
    answer = world.cli("doctor", "-o", "json", CANARY_DATABSE_URL="x")

    assert answer.code == 1
    assert levels(answer) == {"settings": "failed"}
    assert "Did you mean CANARY_DATABASE_URL" in answer.json["checks"][0]["found"]


def test_no_secret_is_in_any_form_of_the_answer(world: World):
    world.started()
    given = {**alone(), **SECRETS, "CANARY_UPSTREAM_URL": f"http://u:hunter2@{nowhere()}/v1"}
    given["CANARY_SLACK_URL"] = f"http://{nowhere()}/api/"

    for form in ("table", "wide", "json", "yaml", "name"):
        answer = world.cli("doctor", "-o", form, **given)
        for secret in (*SECRETS.values(), "hunter2"):
            assert secret not in answer.out + answer.err


def test_the_two_documents_are_the_same_and_names_are_one_a_line(world: World):
    where = alone()

    as_json = world.cli("doctor", "-o", "json", **where).json
    as_yaml = YAML(typ="safe").load(world.cli("doctor", "-o", "yaml", **where).out)
    names = world.cli("doctor", "-o", "name", **where).out.splitlines()

    assert as_json == as_yaml
    assert as_json["kind"] == "Doctor"
    assert names == [f"{one['level']} {one['check']}" for one in as_json["checks"]]


def test_a_probe_is_made_only_when_it_is_asked_for(world: World, around):
    world.started()

    usual = world.cli("doctor", "-o", "json", **around)
    probed = world.cli("doctor", "-o", "json", "--probe", **around)

    def words(answer):
        return next(
            one["found"]
            for one in answer.json["checks"]
            if one["check"] == "support-bot: baseline answers"
        )

    assert "cost" not in words(usual)
    assert "cost 0.00" in words(probed)


@pytest.mark.parametrize(
    "broken",
    [
        {"CANARY_DATABASE_URL": "sqlite:////proc/nowhere/canary.db"},
        {"CANARY_UPSTREAM_URL": "not an address"},
        {"CANARY_UPSTREAM_URL": "http://[::1"},
        {"CANARY_GATEWAY_DIR": "/proc/1/nowhere"},
        {"CANARY_SLACK_TOKEN": "xoxb-1", "CANARY_SLACK_URL": "http://127.0.0.1:9/"},
        {"CANARY_SLACK_TOKEN": "xoxb-1", "CANARY_SLACK_URL": "http://[::1"},
    ],
)
def test_whatever_is_broken_every_check_ends_in_words(world: World, broken):
    answer = world.cli("doctor", **{**alone(), **broken})

    assert answer.code in (0, 1)
    assert "Traceback" not in answer.out + answer.err
    assert "defect" not in answer.err
