from pathlib import Path

import pytest

from controller.errors import SettingsError
from controller.settings import MASK, PREFIX, SECRETS, Settings, address, load_settings


def refused(environ: dict[str, str]) -> str:
    """The message that `environ` is refused with."""
    with pytest.raises(SettingsError) as caught:
        load_settings(environ)
    return str(caught.value)


def shown(settings: Settings) -> dict[str, tuple[str, str]]:
    return {setting.name: (setting.value, setting.source) for setting in settings.describe()}


def secret_file(folder: Path, content: str) -> str:
    path = folder / "secret"
    path.write_text(content, encoding="utf-8")
    return str(path)


def test_an_empty_environment_gives_the_defaults():
    settings = load_settings({})

    assert settings.database_url == "sqlite:///canaryctl.db"
    assert settings.tick_interval_s == 60
    assert settings.lease_s == 300
    assert settings.slack_token is None
    assert settings.log_format == "auto"
    assert settings.log_level == "info"
    assert settings.actor


def test_a_variable_sets_its_setting():
    settings = load_settings({"CANARY_TICK_INTERVAL_S": "15", "CANARY_LOG_LEVEL": "WARNING"})

    assert settings.tick_interval_s == 15
    assert settings.log_level == "warning"


def test_other_programs_variables_are_ignored():
    settings = load_settings({"PATH": "/bin", "canary_log_level": "loud", "CANARYX": "1"})

    assert settings.log_level == "info"


def test_the_process_environment_is_not_read(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CANARY_LOG_LEVEL", "error")

    assert load_settings({}).log_level == "info"


def test_a_mistyped_variable_is_refused_with_the_likely_name():
    message = refused({"CANARY_DATABSE_URL": "sqlite:///x.db"})

    assert message == "CANARY_DATABSE_URL is not a setting. Did you mean CANARY_DATABASE_URL?"


def test_an_unrelated_variable_is_refused_with_the_known_names():
    message = refused({"CANARY_ZZZZZZZZZZZZZZZZ": "1"})

    assert "Known are CANARY_ACTOR, CANARY_CONTROLLER_URL, CANARY_DATABASE_URL" in message


def test_only_a_secret_may_come_from_a_file():
    assert "Did you mean CANARY_LOG_LEVEL?" in refused({"CANARY_LOG_LEVEL_FILE": "/dev/null"})


def test_every_problem_is_told_at_once():
    message = refused(
        {"CANARY_LOGLEVEL": "info", "CANARY_TICK_INTERVAL_S": "soon", "CANARY_LOG_FORMAT": "xml"}
    )

    assert [line.split(":")[0].split(" ")[0] for line in message.splitlines()] == [
        "CANARY_LOGLEVEL",
        "CANARY_TICK_INTERVAL_S",
        "CANARY_LOG_FORMAT",
    ]
    assert "'soon'" in message
    assert "'auto', 'json' or 'console'" in message


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "3601", "one minute"])
def test_a_tick_interval_must_be_a_positive_number_of_seconds_up_to_an_hour(value: str):
    assert "CANARY_TICK_INTERVAL_S" in refused({"CANARY_TICK_INTERVAL_S": value})


def test_a_change_of_leaders_is_over_well_within_a_lease():
    with pytest.raises(SettingsError, match="CANARY_LEADER_TERM_S: 120 is more than a third"):
        load_settings({"CANARY_LEADER_TERM_S": "120"})

    assert load_settings({"CANARY_LEADER_TERM_S": "100"}).leader_term_s == 100


def test_a_lease_must_outlive_two_lost_ticks():
    message = refused({"CANARY_TICK_INTERVAL_S": "60", "CANARY_LEASE_S": "179"})

    assert message == (
        "CANARY_LEASE_S: 179 is less than three tick intervals of 60 s. "
        "Lengthen the lease or shorten CANARY_TICK_INTERVAL_S."
    )
    assert load_settings({"CANARY_TICK_INTERVAL_S": "60", "CANARY_LEASE_S": "180"}).lease_s == 180


def test_a_database_must_be_of_a_kind_that_the_store_knows():
    message = refused({"CANARY_DATABASE_URL": "mysql://root:hunter2@db/canary"})

    assert message == (
        "CANARY_DATABASE_URL: a database address starts with sqlite:/// or postgresql://."
    )


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_variable_is_refused_rather_than_defaulted(value: str):
    message = refused({"CANARY_DATABASE_URL": value})

    assert message == (
        "CANARY_DATABASE_URL is empty. Unset CANARY_DATABASE_URL to get the default."
    )


def test_the_actor_is_the_login_name_unless_set():
    assert load_settings({"USER": "ada"}).actor == "ada"
    assert load_settings({"USER": "ada", "LOGNAME": "grace"}).actor == "grace"
    assert load_settings({"USER": "ada", "CANARY_ACTOR": "ci-bot"}).actor == "ci-bot"


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_a_secret_is_read_from_a_file_and_stripped(name: str, tmp_path: Path):
    value = "sqlite:///from-file.db"
    environ = {f"{PREFIX}{name.upper()}_FILE": secret_file(tmp_path, f"{value}\n")}

    found = getattr(load_settings(environ), name)

    assert (found if isinstance(found, str) else found.get_secret_value()) == value


def test_a_secret_given_twice_is_refused_by_both_names(tmp_path: Path):
    message = refused(
        {
            "CANARY_SLACK_TOKEN": "xoxb-1",
            "CANARY_SLACK_TOKEN_FILE": secret_file(tmp_path, "xoxb-2"),
        }
    )

    assert "CANARY_SLACK_TOKEN and CANARY_SLACK_TOKEN_FILE are both set" in message
    assert "xoxb" not in message


def test_a_missing_secret_file_is_named(tmp_path: Path):
    path = str(tmp_path / "absent")

    message = refused({"CANARY_SLACK_TOKEN_FILE": path})

    assert message == (
        f"CANARY_SLACK_TOKEN_FILE: cannot read {path!r}: No such file or directory. "
        "It names a file that holds the value."
    )


def test_an_empty_or_binary_secret_file_is_named(tmp_path: Path):
    empty = secret_file(tmp_path, "\n")
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")

    assert f"file {empty}" in refused({"CANARY_SLACK_TOKEN_FILE": empty})
    assert "it is not UTF-8 text" in refused({"CANARY_SLACK_TOKEN_FILE": str(binary)})


def test_describe_names_sources_and_masks_secrets(tmp_path: Path):
    token = secret_file(tmp_path, "xoxb-hunter2")

    settings = load_settings(
        {
            "CANARY_DATABASE_URL": "postgresql://canary:hunter2@db:5432/canary",
            "CANARY_SLACK_TOKEN_FILE": token,
            "CANARY_LINK_TOKEN": "hunter2-hunter2-hunter2",
            "CANARY_UPSTREAM_URL": "http://models:8000/v1",
            "CANARY_TICK_INTERVAL_S": "30",
            "USER": "ada",
        }
    )

    assert shown(settings) == {
        "database_url": (f"postgresql://canary:{MASK}@db:5432/canary", "CANARY_DATABASE_URL"),
        "slack_token": (MASK, f"file {token} (CANARY_SLACK_TOKEN_FILE)"),
        "slack_url": ("https://slack.com/api/", "default"),
        "webhook_secret": ("not set", "default"),
        "link_listen": ("127.0.0.1:8701", "default"),
        "ops_listen": ("127.0.0.1:8702", "default"),
        "link_token": (MASK, "CANARY_LINK_TOKEN"),
        "controller_url": ("not set", "default"),
        "upstream_url": ("http://models:8000/v1", "CANARY_UPSTREAM_URL"),
        "gateway_listen": ("127.0.0.1:8700", "default"),
        "gateway_dir": ("canaryctl-gateway", "default"),
        "tick_interval_s": ("30", "CANARY_TICK_INTERVAL_S"),
        "lease_s": ("300", "default"),
        "leader_term_s": ("15", "default"),
        "retention_d": ("90", "default"),
        "actor": ("ada", "login name"),
        "log_level": ("info", "default"),
        "log_format": ("auto", "default"),
        "debug": ("0", "default"),
    }
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://canary:hunt:er2@db/canary",
        "postgresql://canary:hunt@er2@db/canary",
        "postgresql://:hunt/er2@db/canary",
        "postgresql+psycopg://db/canary?user=canary&password=hunter2&sslmode=require",
        "postgresql://db/canary?sslpassword=hunter2",
    ],
)
def test_no_part_of_a_password_is_shown(url: str):
    value, _ = shown(load_settings({"CANARY_DATABASE_URL": url}))["database_url"]

    assert "er2" not in value
    assert "hunt" not in value
    assert MASK in value


@pytest.mark.parametrize("name", ["CANARY_LINK_LISTEN", "CANARY_GATEWAY_LISTEN"])
@pytest.mark.parametrize(
    "value",
    ["8701", ":8701", "localhost", "localhost:", "localhost:http", "localhost:65536", "h:-1"],
)
def test_an_address_to_listen_on_is_a_host_and_a_port(name: str, value: str):
    message = refused({name: value})

    assert message.startswith(f"{name}: {value!r} is refused: ")
    assert "127.0.0.1:8700" in message


@pytest.mark.parametrize(
    ("value", "both"),
    [
        ("127.0.0.1:8701", ("127.0.0.1", 8701)),
        ("gateway:0", ("gateway", 0)),
        ("[::1]:65535", ("::1", 65_535)),
    ],
)
def test_an_address_is_taken_apart_and_an_ipv6_host_loses_its_brackets(
    value: str, both: tuple[str, int]
):
    assert load_settings({"CANARY_LINK_LISTEN": value}).link_listen == value
    assert address(value) == both


def test_a_token_that_could_be_guessed_is_refused_and_not_shown():
    message = refused({"CANARY_LINK_TOKEN": "hunter2-hunter2"})

    assert message == "CANARY_LINK_TOKEN: a token has at least 16 characters."


def test_a_token_of_enough_characters_is_kept_secret():
    settings = load_settings({"CANARY_LINK_TOKEN": "hunter2-hunter2-"})

    assert settings.link_token is not None
    assert settings.link_token.get_secret_value() == "hunter2-hunter2-"
    assert "hunter2" not in repr(settings)


def test_a_gateway_needs_no_setting_but_may_have_them():
    environ = {
        "CANARY_CONTROLLER_URL": "http://controller:8701",
        "CANARY_UPSTREAM_URL": "https://api.openai.com/v1",
        "CANARY_GATEWAY_DIR": "/var/lib/gateway",
    }

    settings, default = load_settings(environ), load_settings({})

    assert settings.controller_url == "http://controller:8701"
    assert settings.upstream_url == "https://api.openai.com/v1"
    assert settings.gateway_dir == "/var/lib/gateway"
    assert (default.controller_url, default.upstream_url) == (None, None)
    assert default.link_token is None


def test_settings_cannot_be_changed():
    settings = load_settings({})

    with pytest.raises(ValueError, match="frozen"):
        settings.log_level = "error"  # type: ignore[misc] # what the type forbids is refused at run time too


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://slack-gov.com/api", "https://slack-gov.com/api/"),
        ("http://127.0.0.1:8080/api/", "http://127.0.0.1:8080/api/"),
        ("http://[::1]:8080/api/", "http://[::1]:8080/api/"),
    ],
)
def test_slack_may_be_elsewhere(given: str, kept: str):
    assert load_settings({"CANARY_SLACK_URL": given}).slack_url == kept


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("slack.com/api", "https://HOST/api/"),
        ("http://proxy/api/", "http:// is for this host alone"),
    ],
)
def test_the_slack_token_is_not_sent_in_the_open(url: str, why: str):
    assert why in refused({"CANARY_SLACK_URL": url})


def test_a_webhook_secret_is_no_shorter_than_a_token():
    assert refused({"CANARY_WEBHOOK_SECRET": "short"}) == (
        "CANARY_WEBHOOK_SECRET: a secret has at least 16 characters."
    )
