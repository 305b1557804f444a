"""Handles: detached LMs, what an LM takes, and the one rule for what calls inherit."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from synth_ai import LM, GenerationOptions, LMRequest
from synth_ai.api import API
from synth_ai.errors import OptionError, RequestError
from synth_ai.lm.vendors.apis import BUILT_IN
from synth_ai.options import LM_OPTIONS
from synth_ai.testing import ScriptedVendor, tool_call


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


# --- detached ---------------------------------------------------------------------------------


@pytest.mark.parametrize("api", ["chat", "responses", "harmony"])
async def test_a_detached_lm_never_chains(api: str) -> None:
    """In no way of calling; it reads the same store and leaves the LM's head where it is."""
    vendor = ScriptedVendor(["zero", "one", "two", "three", "four", "five"], api=api)
    lm = LM("x", vendor=vendor)
    zero = await lm.respond_async("0")
    detached = lm.detached()

    one = await detached.respond_async("1")
    async with detached.stream_async("2") as stream:
        async for _ in stream:
            pass
    run = await detached.run_tools_async("3", tools=[add])
    [four] = await detached.respond_batch_async(["4"])
    for response in (one, stream.response, run.response, four):
        assert response.previous_response_id is None
    assert detached.head is None
    assert lm.head == (zero.response_id if api != "chat" else None)

    five = await detached.respond_async("5", previous_response_id=zero.response_id)
    assert five.previous_response_id == zero.response_id
    assert len(await lm.responses.list_async()) == 6


async def test_the_rounds_of_a_detached_run_know_each_other() -> None:
    """A run is one conversation, though nothing continues it by itself."""
    vendor = ScriptedVendor([tool_call("add", a=1, b=2), "3"], api="harmony")
    detached = LM("x", vendor=vendor, tools=[add]).detached()
    run = await detached.run_tools_async("1 + 2?")
    assert run.text == "3"
    assert run.response.previous_response_id == run.steps[0].response.response_id
    assert detached.head is None


async def test_a_detached_lm_has_no_head_to_move() -> None:
    """Asking for it is an error; a fork of it has one again."""
    vendor = ScriptedVendor(["one", "two", "three"])
    detached = LM("x", vendor=vendor).detached()
    with pytest.raises(RequestError, match="detached"):
        await detached.respond_async("1", auto_store=True)
    assert not detached.auto_store_responses

    branch = detached.fork()
    one = await branch.respond_async("1")
    assert (await branch.respond_async("2")).previous_response_id == one.response_id
    await detached.aclose()
    assert not vendor.closed


# --- what it takes ----------------------------------------------------------------------------


def test_accepts_tells_what_calls_take() -> None:
    """Options of the API by every name it takes, and the arguments that every LM has."""
    chat, responses, harmony = (
        LM("x", vendor=ScriptedVendor(api=api)) for api in ("chat", "responses", "harmony")
    )
    for option in ("temperature", "timeout", "tools", "messages", "continue_known"):
        assert all(lm.accepts(option) for lm in (chat, responses, harmony)), option
    assert [lm.accepts("top_k") for lm in (chat, responses, harmony)] == [False, False, True]
    assert [lm.accepts("stop") for lm in (chat, responses, harmony)] == [True, False, True]
    assert responses.accepts("max_output_tokens")
    for name in ("stream", "input", "n", "temprature", ""):
        assert not responses.accepts(name)


async def test_what_is_accepted_can_be_given() -> None:
    """For every option there is: `accepts` and the call agree."""
    for api in BUILT_IN:
        lm = LM("x", vendor=ScriptedVendor(["ok"] * 100, api=api))
        for option in GenerationOptions.__annotations__:
            given: Any = {option: None}
            if lm.accepts(option):
                await lm.respond_async("Hi", **given)
            else:
                with pytest.raises(OptionError):
                    await lm.respond_async("Hi", **given)


# --- inherited, or cleared ----------------------------------------------------------------------

#: A value for every option that an API has.
VALUES: dict[str, Any] = {
    "temperature": 0.5,
    "max_tokens": 9,
    "max_completion_tokens": 9,
    "max_output_tokens": 9,
    "reasoning_effort": "low",
    "stop": ["END"],
    "tool_choice": "auto",
    "include_reasoning": False,
    "timeout": 30,
    "truncation": "auto",
    "logit_bias": {"1": 2},
    "extra_headers": {"X-Team": "a"},
    "include": ["reasoning.encrypted_content"],
    "context_management": [{"type": "compaction"}],
    "modalities": ["text"],
    "response_format": {"type": "json_object"},
    "reasoning": {"summary": "auto"},
    "text": {"format": {"type": "text"}},
}


def value_of(option: str) -> Any:
    if option in VALUES:
        return VALUES[option]
    kind = str(GenerationOptions.__annotations__[option])
    for name, value in (("Mapping", {"a": "b"}), ("bool", True), ("int", 3), ("float", 0.5)):
        if name in kind:
            return value
    return "x"


def cases() -> list[tuple[str, str]]:
    found = []
    for api in BUILT_IN.values():
        found += [(api.name, option) for option in api.options]
    return found


@pytest.mark.parametrize(("api", "option"), cases())
async def test_an_option_is_inherited_or_cleared(api: str, option: str) -> None:
    """Not given, a call has the LM's; None takes it back, for this call alone."""
    vendor = ScriptedVendor(["ok"] * 4, api=api)
    given: dict[str, Any] = {option: value_of(option)}
    lm = LM("x", vendor=vendor, **given)
    bare = LM("x", vendor=vendor)

    await lm.respond_async("Hi")
    await lm.respond_async("Hi", **{option: None})
    await lm.respond_async("Hi")
    await bare.respond_async("Hi")
    inherited, cleared, again, plain = vendor.requests
    assert shape_of(inherited) == shape_of(again)
    assert shape_of(cleared) == shape_of(plain)
    # What LM carries out itself does not reach the backend.
    if option not in LM_OPTIONS:
        assert shape_of(inherited) != shape_of(plain)


def shape_of(request: LMRequest) -> tuple[object, ...]:
    return request.options, request.timeout, request.response_format


async def test_truncation_and_reasoning_are_cleared_too() -> None:
    """LM carries these two out itself."""
    answer: list[Any] = [
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm"}]}
    ]
    vendor = ScriptedVendor([answer] * 4, api="harmony")
    lm = LM("x", vendor=vendor, include_reasoning=False, truncation="auto")
    assert (await lm.respond_async("1")).reasoning is None
    assert (await lm.respond_async("2", include_reasoning=None)).reasoning == "Hm"
    await lm.respond_async("3", truncation=None)
    assert [request.compactable for request in vendor.requests] == [False, True, False]


class City(BaseModel):
    name: str


async def test_system_message_tools_and_shape_are_inherited_or_cleared() -> None:
    """A branch has its own system message and tools, an LM its own of all three."""
    vendor = ScriptedVendor(['{"name": "Oslo"}'] * 8, api="harmony")
    lm = LM("x", vendor=vendor, system_message="Be terse.", tools=[add], response_model=City)

    await lm.respond_async("1")
    await lm.respond_async("2", system_message=None, tools=None, response_model=None)
    await lm.respond_async("3")
    await lm.respond_async("4", system_message="Be kind.", tools=[add])
    await lm.respond_async("5")
    lm.reset()
    await lm.respond_async("6", system_message=None)
    await lm.respond_async(system_message=None, messages=[{"role": "user", "content": "7"}])

    in_force = [
        (request.instructions, len(request.tools), request.response_format is not None)
        for request in vendor.requests
    ]
    assert in_force == [
        ("Be terse.", 1, True),
        (None, 0, False),
        # Cleared for the branch; the shape is the LM's, call by call.
        (None, 0, True),
        ("Be kind.", 1, True),
        ("Be kind.", 1, True),
        (None, 1, True),
        (None, 1, True),
    ]


# --- what people mean -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("auto_store", "auto_store_responses="),
        ("continue_known", "It goes to a call"),
        ("images", "They go to a call"),
        ("tool_outputs", "They go to a call"),
        ("user_message", "It goes to a call"),
    ],
)
def test_arguments_of_calls_are_none_of_an_lm(option: str, says: str) -> None:
    """The error says where they go."""
    given: Any = {option: True}
    with pytest.raises(OptionError, match=says):
        LM("x", vendor=ScriptedVendor(), **given)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("async_respond", "'respond_async'"),
        ("stream", "'stream_async' or 'stream_sync'"),
        ("respnd", "'respond'"),
        ("batch_respond", "'respond_batch'"),
    ],
)
def test_a_method_by_another_name(name: str, meant: str) -> None:
    """The error names what is meant; no name that LM has is near `zzz`."""
    lm = LM("x", vendor=ScriptedVendor())
    with pytest.raises(AttributeError, match=meant):
        getattr(lm, name)
    with pytest.raises(AttributeError, match=r"attribute 'zzz'\.$"):
        getattr(lm, "zzz")  # noqa: B009


async def test_an_api_of_ones_own_decides_what_is_accepted() -> None:
    """`accepts` asks the vendor's API, and knows no API by its name."""
    vendor = ScriptedVendor(api=API(name="mine", options={}))
    lm = LM("x", vendor=vendor)
    assert not lm.accepts("temperature")
    assert lm.accepts("timeout")
