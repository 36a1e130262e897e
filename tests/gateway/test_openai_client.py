"""The `openai` client before the gateway: only its base URL is another, and nothing that it parses."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest

from controller.rollout.plan import Unit
from controller.simulate.services.upstream import SimulatedModels, Skill
from tests.gateway.servers import Front, Scripted, answers, fronting, serving, simulated
from tests.traffic.factories import ROLLOUT, ROUTE, split

REFUND = {"x-canary-intent": "refund"}
QUESTION: Any = [{"role": "user", "content": "[refund] 17 + 25 = ?"}]
ARMS = [
    pytest.param(0, "gpt-4.1", id="baseline"),
    pytest.param(10_000, "gpt-4.1-mini", id="candidate"),
]


@contextmanager
def models() -> Iterator[str]:
    skills = {"gpt-4.1": Skill(), "gpt-4.1-mini": Skill(accuracy=0.0), "gpt-4o": Skill()}
    with simulated(SimulatedModels(skills, seed=1)) as url:
        yield url


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with models() as url:
        yield url


def client(url: str, *, key: str = "sk-test") -> openai.OpenAI:
    return openai.OpenAI(base_url=url, api_key=key, max_retries=0)


def asked(url: str, **fields: Any) -> Any:
    """A completion, or all chunks of one if it is a stream."""
    with client(url) as there:
        answer = there.chat.completions.create(
            **{"model": "gpt-4.1", "messages": QUESTION, "extra_headers": REFUND, **fields}
        )
        return list(answer) if fields.get("stream") else answer


def text_of(chunks: list[Any]) -> str:
    return "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)


@contextmanager
def front(upstream: str, folder: Path, share_bp: int = 10_000, **fields: Any) -> Iterator[Front]:
    with fronting(upstream, folder, split(share_bp, **fields)) as made:
        yield made


# What it parses is the same


@pytest.mark.parametrize(("share_bp", "model"), ARMS)
def test_a_completion_is_what_its_arm_answers_directly(share_bp, model, upstream, tmp_path):
    directly = asked(upstream, model=model)

    with front(upstream, tmp_path, share_bp) as gateway:
        through = asked(gateway.url)

    assert through == directly
    assert through._request_id == directly._request_id


@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": True}}])
@pytest.mark.parametrize(("share_bp", "model"), ARMS)
def test_a_stream_is_what_its_arm_streams_directly(share_bp, model, options, upstream, tmp_path):
    directly = asked(upstream, model=model, stream=True, **options)

    with front(upstream, tmp_path, share_bp) as gateway:
        through = asked(gateway.url, stream=True, **options)

    assert through == directly
    assert text_of(through) == asked(upstream, model=model).choices[0].message.content


def test_a_stream_ends_with_its_usage_where_the_client_asks_for_it(upstream, tmp_path):
    with front(upstream, tmp_path) as gateway:
        chunks = asked(gateway.url, stream=True, stream_options={"include_usage": True})

    assert [one.usage is not None for one in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].choices == []


def test_a_stream_has_no_usage_where_the_client_does_not_ask_though_it_is_counted(
    upstream, tmp_path
):
    with front(upstream, tmp_path) as gateway:
        chunks = asked(gateway.url, stream=True)
        counted = gateway.noted()[0]["quantities"]

    assert all(one.choices and "usage" not in one.model_fields_set for one in chunks)
    assert counted["output_tokens"] == asked(upstream, model="gpt-4.1-mini").usage.completion_tokens


def test_the_async_client_gets_the_same(upstream, tmp_path):
    async def both(url: str, model: str) -> tuple[Any, list[Any]]:
        async with openai.AsyncOpenAI(base_url=url, api_key="sk-test", max_retries=0) as there:
            create: Any = there.chat.completions.create
            fields = {"model": model, "messages": QUESTION, "extra_headers": REFUND}
            whole = await create(**fields)
            return whole, [one async for one in await create(**fields, stream=True)]

    directly = asyncio.run(both(upstream, "gpt-4.1-mini"))

    with front(upstream, tmp_path) as gateway:
        assert asyncio.run(both(gateway.url, "gpt-4.1")) == directly


def test_many_requests_of_the_async_client_at_once_are_all_answered_and_noted(upstream, tmp_path):
    async def many(url: str) -> list[str]:
        async with openai.AsyncOpenAI(base_url=url, api_key="sk-test", max_retries=0) as there:
            create = there.chat.completions.with_raw_response.create
            calls = [
                create(model="gpt-4.1", messages=QUESTION, extra_headers=REFUND) for _ in range(50)
            ]
            return [one.headers["x-canary-request-id"] for one in await asyncio.gather(*calls)]

    with front(upstream, tmp_path, 5_000) as gateway:
        names = asyncio.run(many(gateway.url))
        noted = gateway.noted()

    assert sorted(names) == sorted(one["id"] for one in noted)
    assert len(set(names)) == 50


# What the gateway adds


def test_the_raw_response_says_which_request_arm_and_rollout_it_was(upstream, tmp_path):
    with front(upstream, tmp_path) as gateway, client(gateway.url) as there:
        raw = there.chat.completions.with_raw_response.create(
            model="gpt-4.1", messages=QUESTION, extra_headers=REFUND
        )
        noted = gateway.noted()

    assert [one["id"] for one in noted] == [raw.headers["x-canary-request-id"]]
    assert raw.headers["x-canary-arm"] == noted[0]["arm"] == "candidate"
    assert raw.headers["x-canary-rollout"] == noted[0]["rollout"] == ROLLOUT
    assert raw.headers["x-simulated"] == "true"
    assert "x-canary-escalated" not in raw.headers


def test_the_unit_and_the_intent_are_taken_from_extra_headers(upstream, tmp_path):
    with front(upstream, tmp_path) as gateway:
        asked(gateway.url, extra_headers={"x-canary-unit": "talk-7", **REFUND})
        noted = gateway.noted()

    assert [(one["unit"], one["intent"]) for one in noted] == [("talk-7", "refund")]


def test_the_unit_and_the_intent_are_taken_from_metadata(upstream, tmp_path):
    with front(upstream, tmp_path) as gateway:
        asked(
            gateway.url,
            extra_headers={},
            metadata={"intent": "refund", "conversation_id": "talk-8"},
        )
        noted = gateway.noted()

    assert [(one["unit"], one["intent"]) for one in noted] == [("talk-8", "refund")]
    assert noted[0]["arm"] == "candidate"


def test_a_user_is_the_safety_identifier(upstream, tmp_path):
    with front(upstream, tmp_path, route=replace(ROUTE, unit=Unit.USER)) as gateway:
        asked(gateway.url, safety_identifier="u-1")
        noted = gateway.noted()

    assert [one["unit"] for one in noted] == ["u-1"]


def test_a_conversation_keeps_its_arm_when_the_share_is_raised(upstream, tmp_path):
    talk = {"x-canary-unit": "talk-9", **REFUND}

    with front(upstream, tmp_path, 0) as gateway:
        asked(gateway.url, extra_headers=talk)
        gateway.link.give(split(10_000, version=2))
        asked(gateway.url, extra_headers=talk)
        asked(gateway.url, extra_headers={"x-canary-unit": "talk-10", **REFUND})
        noted = gateway.noted()

    assert [(one["unit"], one["arm"], one["version"]) for one in noted] == [
        ("talk-9", "baseline", 1),
        ("talk-9", "baseline", 1),
        ("talk-10", "candidate", 2),
    ]


# Errors keep their type


@pytest.mark.parametrize("share_bp", [0, 10_000])
def test_a_request_without_a_key_is_refused_by_the_upstream(share_bp, upstream, tmp_path):
    nobody = {"Authorization": openai.omit, **REFUND}

    with (
        front(upstream, tmp_path, share_bp) as gateway,
        pytest.raises(openai.AuthenticationError) as through,
    ):
        asked(gateway.url, extra_headers=nobody)
    with pytest.raises(openai.AuthenticationError) as directly:
        asked(upstream, extra_headers=nobody)

    assert through.value.body == directly.value.body


def test_an_unknown_model_is_not_found(upstream, tmp_path):
    with front(upstream, tmp_path) as gateway, pytest.raises(openai.NotFoundError) as found:
        asked(gateway.url, model="gpt-9")

    assert found.value.code == "model_not_found"


@pytest.mark.parametrize("share_bp", [0, 10_000])
def test_a_bad_request_is_a_bad_request(share_bp, upstream, tmp_path):
    with (
        front(upstream, tmp_path, share_bp) as gateway,
        pytest.raises(openai.BadRequestError) as found,
    ):
        asked(gateway.url, messages=[])

    assert (found.value.code, found.value.param) == ("missing_required_parameter", "messages")


def test_an_overloaded_upstream_is_an_internal_server_error(tmp_path):
    shedding = {name: Skill(shedding=1.0) for name in ("gpt-4.1", "gpt-4.1-mini")}

    with (
        simulated(SimulatedModels(shedding, seed=1)) as upstream,
        front(upstream, tmp_path) as gateway,
        pytest.raises(openai.InternalServerError) as found,
    ):
        asked(gateway.url)

    assert (found.value.status_code, found.value.code) == (503, "server_overloaded")


def test_an_upstream_that_is_away_is_an_internal_server_error(tmp_path):
    with models() as gone:
        pass

    with (
        front(gone, tmp_path) as gateway,
        pytest.raises(openai.InternalServerError) as found,
    ):
        asked(gateway.url)

    assert (found.value.status_code, found.value.code) == (502, "upstream_failed")
    assert "x-canary-request-id" in found.value.response.headers


# Everything else passes through


def test_the_list_of_models_passes_through(upstream, tmp_path):
    with client(upstream) as there:
        directly = list(there.models.list())

    with front(upstream, tmp_path) as gateway, client(gateway.url) as there:
        assert list(there.models.list()) == directly

    assert {one.id for one in directly} == {"gpt-4.1", "gpt-4.1-mini", "gpt-4o"}


def test_a_model_that_no_rollout_claims_passes_through(upstream, tmp_path):
    with front(upstream, tmp_path) as gateway:
        assert asked(gateway.url, model="gpt-4o") == asked(upstream, model="gpt-4o")
        assert gateway.noted() == []


def test_embeddings_pass_through_also_for_a_claimed_model(tmp_path):
    vector = {"object": "embedding", "index": 0, "embedding": [0.25, -1.0]}
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    answer = {"object": "list", "model": "gpt-4.1", "data": [vector], "usage": usage}
    script = Scripted(otherwise=answers(answer))

    with serving(script.app) as upstream, front(upstream, tmp_path) as gateway:
        with client(gateway.url) as there:
            made = there.embeddings.create(model="gpt-4.1", input="hello", encoding_format="float")
        noted = gateway.noted()

    assert made.data[0].embedding == [0.25, -1.0]
    assert [(one.method, one.path) for one in script.received] == [("POST", "/v1/embeddings")]
    assert script.received[0].json["model"] == "gpt-4.1"
    assert noted == []


def test_what_is_asked_by_get_and_query_passes_through(tmp_path):
    script = Scripted(otherwise=answers({"object": "list", "data": [], "has_more": False}))

    with (
        serving(script.app) as upstream,
        front(upstream, tmp_path) as gateway,
        client(gateway.url) as there,
    ):
        there.files.list(purpose="batch", limit=2)

    assert [one.path for one in script.received] == ["/v1/files?limit=2&purpose=batch"]
