"""Process settings: environment variables named `CANARY_*`, read once from a mapping that is passed in.

A variable that is unknown, empty or given twice is an error, never a default: a typo must not start a controller
on another database than the one that was meant.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from controller.errors import SettingsError

PREFIX = "CANARY_"
MASK = "********"
SHORTEST_TOKEN = 16
SECRETS = frozenset({"database_url", "link_token", "slack_token", "webhook_secret"})
"""The settings that may also be given as the content of a file, by `CANARY_<NAME>_FILE`."""

LogFormat = Literal["auto", "json", "console"]
LogLevel = Literal["debug", "info", "warning", "error"]


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _known_database(url: str) -> str:
    if not url.startswith(("sqlite:///", "postgresql://", "postgresql+psycopg://")):
        msg = "a database address starts with sqlite:/// or postgresql://"
        raise ValueError(msg)
    return url


def _slack_api(url: str) -> str:
    match = re.fullmatch(r"(https?)://(\[[^\]\s]+\]|[^\s/:\[]+)(:\d+)?(/\S*)?", url)
    if match is None:
        msg = "an address of Slack's Web API is https://HOST/api/"
        raise ValueError(msg)
    if match[1] == "http" and match[2] not in ("127.0.0.1", "localhost", "[::1]"):
        msg = "the token goes over it, so http:// is for this host alone"
        raise ValueError(msg)
    return url if url.endswith("/") else f"{url}/"


def _host_and_port(text: str) -> str:
    address(text)
    return text


def address(text: str) -> tuple[str, int]:
    """HOST:PORT as both; an IPv6 host stands in brackets. ValueError."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or not 0 <= int(port) <= 65_535:
        msg = "an address to listen on is HOST:PORT, such as 127.0.0.1:8700"
        raise ValueError(msg)
    return host, int(port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting as it may be shown to anybody: secrets are masked."""

    name: str
    value: str
    source: str


class Settings(BaseSettings):
    """What a process is told by its environment. Rollouts are described by plans, not here."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, hide_input_in_errors=True
    )

    database_url: Annotated[str, AfterValidator(_known_database)] = Field(
        default="sqlite:///canaryctl.db", repr=False
    )
    """Where records, plans and metrics are kept, as an SQLAlchemy URL.

    Default: a file in the working directory, because trying canaryctl must not need a server. A relative SQLite path is
    relative to the working directory; more than one controller needs PostgreSQL.
    """

    slack_token: SecretStr | None = None
    """Slack bot token (`xoxb-…`) with the scopes of docs/notifications.md. Default: none.

    Without it what plans owe to Slack stays owed, and `describe` says why; the log has every notice in any case.
    """

    slack_url: Annotated[str, AfterValidator(_slack_api)] = "https://slack.com/api/"
    """Where Slack's Web API is: another address is for tests, proxies and Slack's government cloud."""

    webhook_secret: SecretStr | None = None
    """What notices to a plan's `notify.webhook` are signed with; at least 16 characters. Default: none.

    Nothing is sent unsigned: without it what plans owe to webhooks stays owed.
    """

    link_listen: Annotated[str, AfterValidator(_host_and_port)] = "127.0.0.1:8701"
    """Where `canaryctl run` listens for gateways, HOST:PORT. Default: this host alone.

    What goes over it is as sensitive as the traffic's metadata: put TLS in front where it leaves the host.
    """

    link_token: SecretStr | None = None
    """What a gateway shows to the controller, the same on both sides; at least 16 characters. Default: none.

    Without it `canaryctl run` serves no gateways.
    """

    ops_listen: Annotated[str, AfterValidator(_host_and_port)] = "127.0.0.1:8702"
    """Where `canaryctl run` and `up` answer `/livez`, `/readyz` and `/metrics`, HOST:PORT. `--ops-listen` goes first.

    Default: this host alone. In a container 0.0.0.0:8702; no token is asked for, and nothing can be changed there.
    """

    controller_url: str | None = None
    """Where `canaryctl gateway` finds the controllers, such as http://controller:8701; several are separated by commas.

    `--controller` goes first.
    """

    upstream_url: str | None = None
    """The models' address, an OpenAI client's base URL. `--upstream` goes first."""

    gateway_listen: Annotated[str, AfterValidator(_host_and_port)] = "127.0.0.1:8700"
    """Where the gateway listens for the application's requests, HOST:PORT. `--listen` goes first."""

    gateway_dir: str = Field(default="canaryctl-gateway", min_length=1)
    """The folder that a gateway keeps its splits, live units and spool in; one for each. Survives restarts."""

    tick_interval_s: float = Field(default=60.0, gt=0, le=3600, allow_inf_nan=False)
    """Seconds between two looks at every running rollout, more than 0, at most an hour.

    Default 60: metrics have a resolution of one minute, so looking more often sees nothing new.
    """

    lease_s: float = Field(default=300.0, gt=0, le=86_400, allow_inf_nan=False)
    """Seconds that a split stays in force without being renewed; then traffic goes back to the baseline.

    Renewed by every tick, so at least three intervals: two lost ticks must not move traffic. Default 300: five ticks.
    """

    leader_term_s: float = Field(default=15.0, gt=0, le=3600, allow_inf_nan=False)
    """Seconds that a controller leads without renewing, where several run on one database; renewed three times in it.

    So long nobody leads after one that was killed, and a sole one that is started again waits before it acts; one that
    was told to end hands over at once. At most a third of the lease: a change of leaders must not move traffic.
    Default 15.
    """

    retention_d: int = Field(default=90, ge=1, le=3650)
    """Days that observations, outcomes, pairs and episodes are kept; what they were counted in, records too, stays.

    Longer where a plan's labels.horizon is. What is older is refused and counted. Default 90.
    """

    actor: str = Field(default="unknown", min_length=1, max_length=200)
    """Who is recorded for what this process is asked to do. Default: the login name."""

    log_level: Annotated[LogLevel, BeforeValidator(_lower)] = "info"
    """The least severe log line that is written."""

    log_format: Annotated[LogFormat, BeforeValidator(_lower)] = "auto"
    """`json` for machines, `console` for people. Default `auto`: console on a terminal, else JSON."""

    debug: Literal["0", "1"] = "0"
    """`1` shows the traceback of a defect of canaryctl itself; else its one-line report."""

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load_settings` passes: the environment is an argument, never ambient."""
        return (init_settings,)

    @field_validator("link_token", "webhook_secret")
    @classmethod
    def _long_enough(cls, token: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if token is not None and len(token.get_secret_value()) < SHORTEST_TOKEN:
            what = "secret" if info.field_name == "webhook_secret" else "token"
            msg = f"a {what} has at least {SHORTEST_TOKEN} characters"
            raise ValueError(msg)
        return token

    @model_validator(mode="after")
    def _lease_outlives_lost_ticks(self) -> Self:
        if self.lease_s < 3 * self.tick_interval_s:
            msg = (
                f"CANARY_LEASE_S: {self.lease_s:g} is less than three tick intervals of {self.tick_interval_s:g} s. "
                "Lengthen the lease or shorten CANARY_TICK_INTERVAL_S"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _lease_outlives_a_change_of_leaders(self) -> Self:
        if self.leader_term_s * 3 > self.lease_s:
            msg = (
                f"CANARY_LEADER_TERM_S: {self.leader_term_s:g} is more than a third of the lease, {self.lease_s:g} s: "
                "gateways would fall back to the baseline while nobody leads. Shorten it or lengthen CANARY_LEASE_S"
            )
            raise ValueError(msg)
        return self

    def describe(self) -> tuple[Setting, ...]:
        """Every setting with its value, secrets masked, and where the value comes from."""
        return tuple(
            Setting(
                name=name,
                value=_shown(name, getattr(self, name)),
                source=self._sources.get(name, "default"),
            )
            for name in type(self).model_fields
        )


def load_settings(environ: Mapping[str, str]) -> Settings:
    """The settings that `environ` asks for; other programs' variables in it are ignored.

    Raises SettingsError with every problem at once. Values of secrets are in no message.
    """
    values, sources, problems = _read(environ)
    if "actor" not in values:
        values["actor"], sources["actor"] = _login_name(environ), "login name"
    settings: Settings | None = None
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_input=False)
        problems += [_explain(dict(detail), values, sources) for detail in found]
    if settings is None or problems:
        raise SettingsError("\n".join(problems))
    settings._sources.update(sources)
    return settings


def _read(environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """Values and their sources by setting, and what is wrong with the variables themselves."""
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    problems: list[str] = []
    known = _variables()
    for variable in sorted(name for name in environ if name.startswith(PREFIX)):
        if variable not in known:
            problems.append(_unknown(variable, known))
            continue
        name, is_file = known[variable]
        if is_file and PREFIX + name.upper() in environ:
            problems.append(
                f"{PREFIX}{name.upper()} and {variable} are both set. Keep the one that is meant."
            )
            continue
        try:
            values[name] = (
                _content(variable, environ[variable]) if is_file else environ[variable].strip()
            )
        except SettingsError as error:
            problems.append(str(error))
            continue
        sources[name] = f"file {environ[variable]} ({variable})" if is_file else variable
        if not values[name]:
            del values[name]
            problems.append(f"{sources[name]} is empty. Unset {variable} to get the default.")
    return values, sources, problems


def _variables() -> dict[str, tuple[str, bool]]:
    """Each variable's setting, and whether the variable names a file that holds the value."""
    plain = {PREFIX + name.upper(): (name, False) for name in Settings.model_fields}
    files = {f"{PREFIX}{name.upper()}_FILE": (name, True) for name in SECRETS}
    return plain | files


def _unknown(variable: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(variable, known, n=1)
    advice = f"Did you mean {close[0]}?" if close else f"Known are {', '.join(sorted(known))}."
    return f"{variable} is not a setting. {advice}"


def _content(variable: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        msg = f"{variable}: cannot read {path!r}: {reason}. It names a file that holds the value."
        raise SettingsError(msg) from error


_WANTED: Final = {
    "float_parsing": "it should be a number",
    "int_parsing": "it should be a whole number",
    "int_from_float": "it should be a whole number",
    "bool_parsing": "it should be true or false",
}
"""What is said of pydantic's errors by type, where its own words are about its input."""


def _explain(
    detail: dict[str, Any], values: Mapping[str, object], sources: Mapping[str, str]
) -> str:
    """One problem that pydantic found, in the words of the person who set the variable."""
    message = _WANTED.get(detail["type"]) or str(detail["msg"]).removeprefix("Value error, ")
    message = message.replace("Input should be", "it should be")
    if not detail["loc"]:
        return f"{message}."
    name = str(detail["loc"][0])
    found = "" if name in SECRETS else f" {values[name]!r} is refused:"
    return f"{sources.get(name, name)}:{found} {message[0].lower()}{message[1:]}."


def _login_name(environ: Mapping[str, str]) -> str:
    for variable in ("LOGNAME", "USER", "USERNAME"):
        if name := environ.get(variable, "").strip():
            return name
    return f"uid-{os.getuid()}" if hasattr(os, "getuid") else "unknown"


def _shown(name: str, value: object) -> str:
    match value:
        case None:
            return "not set"
        case SecretStr():
            return MASK
        case str() if name == "database_url":
            return without_password(value)
        case _:
            return f"{value:g}" if isinstance(value, float) else str(value)


def without_password(url: str) -> str:
    """A database's address as it may be shown."""
    # Greedy up to the last @: an unescaped password may hold one itself.
    url = re.sub(r"^([\w+]+://[^:@/]*:).*@", rf"\g<1>{MASK}@", url)
    return re.sub(r"([?&](?:\w*password|passfile)=)[^&]*", rf"\g<1>{MASK}", url)
