"""Which option each API takes: the right ones by name, the wrong ones with the way out."""

from __future__ import annotations

from typing import Any

import pytest

from synth_ai import LM, Timeout
from synth_ai.errors import OptionError
from synth_ai.lm.prices import Price
from synth_ai.lm.vendors.apis import BUILT_IN, CHAT
from synth_ai.testing import ScriptedVendor

APIS: tuple[str, ...] = ("chat", "responses", "harmony")

RESERVED = {
    "input": "positional strings, messages= or tool_outputs=",
    "instructions": "system_message=",
    "stream": r"stream_async\(\) or stream_sync\(\)",
    "previous_response_id": r"lm\.respond\(\.\.\., previous_response_id=",
    "conversation": r"previous_response_id=, or lm\.fork",
    "n": "respond_batch",
    "messages": r"lm\.respond\(messages=",
    "model": "make another LM",
    "functions": "tools=",
    "function_call": "tool_choice=",
}


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(("name", "message"), RESERVED.items(), ids=RESERVED)
def test_names_that_lm_uses_itself_are_explained(api: str, name: str, message: str) -> None:
    """Raw parameters of the APIs that would fight with LM say what to write instead."""
    with pytest.raises(OptionError, match=f"^{name}= is not an option here.*{message}"):
        BUILT_IN[api].read_options({name: 1})


@pytest.mark.parametrize(
    ("api", "given", "message"),
    [
        ("chat", {"image": "a.png"}, r"images=\["),
        (
            "responses",
            {"image": "a.png"},
            r"a dictionary of the API's own, not 'a\.png'\. Pictures go into images=",
        ),
        ("harmony", {"max_output_tokens": 5}, "Use max_tokens="),
        ("responses", {"max_completion_tokens": 5}, "Use max_tokens="),
        ("responses", {"text_format": dict}, "Use response_model="),
        ("responses", {"response_format": dict}, "Use response_model="),
        ("chat", {"response_format": dict}, r"own, not <class 'dict'>\. Use response_model="),
        ("chat", {"max_retries": 5}, "Use retry= of the LM"),
        ("chat", {"retry": 5}, r"LM\(\.\.\., retry=5\)"),
        ("responses", {"organization": "o"}, "OPENAI_ORG_ID"),
        ("harmony", {"system": "Be terse."}, "system_message="),
    ],
)
def test_what_people_carry_over_from_elsewhere(
    api: str, given: dict[str, Any], message: str
) -> None:
    """Names of the SDK and of peers that LM calls otherwise."""
    with pytest.raises(OptionError, match=message):
        BUILT_IN[api].read_options(given)


@pytest.mark.parametrize(
    ("api", "name", "message"),
    [
        (
            "responses",
            "temprature",
            "not an option of the responses API.*mean 'temperature'.*extra_body=",
        ),
        ("chat", "top_k_p", "not an option of the chat API.*extra_body="),
        (
            "harmony",
            "repetition_penality",
            "not an option of the harmony API.*mean 'repetition_penalty'",
        ),
        (
            "responses",
            "stop",
            "option of chat and harmony, which the responses API does not have.*api='chat'",
        ),
        (
            "chat",
            "background",
            "option of responses, which the chat API does not have.*api='responses'",
        ),
        (
            "chat",
            "top_k",
            "option of harmony, which the chat API does not have.*extra_body={'top_k': ...}",
        ),
        (
            "harmony",
            "service_tier",
            "option of chat and responses, which the harmony API does not have",
        ),
        ("harmony", "extra_body", "which the harmony API does not have"),
    ],
)
def test_a_wrong_name_gets_the_nearest_or_the_api_that_has_it(
    api: str, name: str, message: str
) -> None:
    """A misspelt option is an error, never dropped; so is one of another API."""
    with pytest.raises(OptionError, match=f"^{name}= is .*{message}"):
        BUILT_IN[api].read_options({name: "x"})


def test_harmony_promises_no_extra_body() -> None:
    """There is no SDK behind it, so the hint would lead nowhere."""
    with pytest.raises(OptionError) as raised:
        BUILT_IN["harmony"].read_options({"nonsense": 1})
    assert "extra_body" not in str(raised.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"reasoning_effort": "hgih"},
            "reasoning_effort must be one of .*low, medium, high.*not 'hgih'",
        ),
        ({"max_tokens": 0}, "max_tokens must be a whole number from 1, not 0"),
        ({"max_tokens": -5}, "max_tokens must be .*not -5"),
        ({"max_tokens": 1.5}, "max_tokens must be .*not 1.5"),
        ({"max_tokens": True}, "max_tokens must be .*not True"),
        ({"temperature": 3}, "temperature must be a number from 0 to 2, not 3"),
        ({"temperature": -0.1}, "temperature must be .*not -0.1"),
        ({"temperature": "hot"}, "temperature must be .*not 'hot'"),
        ({"temperature": True}, "temperature must be .*not True"),
        ({"timeout": 0}, "timeout=0 must be .*seconds above 0"),
        ({"timeout": "5"}, "timeout='5'"),
        ({"timeout": float("nan")}, "timeout=nan must be"),
    ],
)
@pytest.mark.parametrize("api", APIS)
def test_values_out_of_range_are_named(api: str, given: dict[str, Any], message: str) -> None:
    """A value that no backend can use is told before a call is paid for."""
    with pytest.raises(OptionError, match=message):
        BUILT_IN[api].read_options(given)


@pytest.mark.parametrize("timeout", [Timeout(connect=1), Timeout(total=9, first_byte=1)])
def test_an_engine_has_no_phases_to_wait_for(timeout: Timeout) -> None:
    """They would be dropped silently otherwise."""
    with pytest.raises(OptionError, match="On harmony a call takes a total"):
        BUILT_IN["harmony"].read_options({"timeout": timeout})
    assert BUILT_IN["chat"].read_options({"timeout": timeout})["timeout"] == timeout


def test_efforts_differ_by_api() -> None:
    """OpenAI has seven; gpt-oss three."""
    for effort in ("none", "minimal", "low", "medium", "high", "xhigh", "max"):
        assert (
            BUILT_IN["responses"].read_options({"reasoning_effort": effort})["reasoning_effort"]
            == effort
        )
    with pytest.raises(
        OptionError,
        match="reasoning_effort must be one of low, medium, high on harmony, not 'minimal'",
    ):
        BUILT_IN["harmony"].read_options({"reasoning_effort": "minimal"})


@pytest.mark.parametrize("api", ["chat", "harmony"])
@pytest.mark.parametrize("stop", ["", ["a", ""], [1], 5])
def test_stop_strings_must_be_strings(api: str, stop: Any) -> None:
    """An empty one would stop before the first letter."""
    with pytest.raises(OptionError, match=r"stop must be .*strings that are not empty"):
        BUILT_IN[api].read_options({"stop": stop})


@pytest.mark.parametrize(
    ("api", "alias"), [("chat", "max_completion_tokens"), ("responses", "max_output_tokens")]
)
def test_an_api_s_own_name_for_the_same_thing(api: str, alias: str) -> None:
    """It means max_tokens, and both together contradict each other in either order."""
    kept = alias if api == "chat" else "max_tokens"
    assert BUILT_IN[api].read_options({alias: 5}) == {kept: 5}
    for pair in ({"max_tokens": 1, alias: 5}, {alias: 5, "max_tokens": 1}):
        with pytest.raises(OptionError, match="same option here; give one of them"):
            BUILT_IN[api].read_options(pair)


def test_a_limit_of_a_call_replaces_that_of_the_lm_under_either_name() -> None:
    """Servers tell the two names apart, so each goes out as it was given, and never both."""
    chat = BUILT_IN["chat"]
    names = ("max_tokens", "max_completion_tokens")
    for below, above in (names, names[::-1]):
        merged = chat.merge_options({below: 9}, chat.read_options({above: 5}))  # type: ignore[misc]
        assert merged == {above: 5}
        taken_back = chat.merge_options({below: 9}, chat.read_options({above: None}))  # type: ignore[misc]
        assert taken_back == {}
    with pytest.raises(OptionError, match="max_completion_tokens must be a whole number"):
        chat.read_options({"max_completion_tokens": 0})


def test_two_ways_to_set_the_effort_are_one_option() -> None:
    """`reasoning=` is the API's own way and has more in it; two efforts in one place clash."""
    with pytest.raises(
        OptionError, match=r"reasoning_effort='high' and reasoning=\{'effort': 'low'\} contradict"
    ):
        BUILT_IN["responses"].read_options(
            {"reasoning": {"effort": "low"}, "reasoning_effort": "high"}
        )
    with pytest.raises(
        OptionError, match=r"verbosity='low' and text=\{'verbosity': 'high'\} contradict"
    ):
        BUILT_IN["responses"].read_options({"text": {"verbosity": "high"}, "verbosity": "low"})
    both = BUILT_IN["responses"].read_options(
        {"reasoning": {"summary": "auto"}, "reasoning_effort": "high"}
    )
    assert both == {"reasoning": {"summary": "auto"}, "reasoning_effort": "high"}
    with pytest.raises(OptionError, match=r"reasoning_effort must be .*not 'hgih'"):
        BUILT_IN["responses"].read_options({"reasoning": {"effort": "hgih"}})


def test_a_call_s_options_lie_over_the_lm_s() -> None:
    """None takes an option back; nothing else is lost."""
    defaults = BUILT_IN["responses"].read_options(
        {"temperature": 0.5, "max_tokens": 9, "top_p": 0.9}
    )
    call = BUILT_IN["responses"].read_options({"temperature": None, "max_output_tokens": 5})
    assert BUILT_IN["responses"].merge_options(defaults, call) == {"max_tokens": 5, "top_p": 0.9}
    assert defaults["temperature"] == 0.5


@pytest.mark.parametrize(
    ("of_lm", "of_call", "merged"),
    [
        (
            {"reasoning_effort": "high"},
            {"reasoning": {"summary": "auto"}},
            {"reasoning_effort": "high", "reasoning": {"summary": "auto"}},
        ),
        (
            {"reasoning": {"summary": "auto", "effort": "high"}},
            {"reasoning_effort": "low"},
            {"reasoning_effort": "low", "reasoning": {"summary": "auto"}},
        ),
        (
            {"reasoning_effort": "high"},
            {"reasoning": {"effort": "low"}},
            {"reasoning_effort": "low", "reasoning": {}},
        ),
        (
            {"extra_body": {"a": 1, "b": 1}},
            {"extra_body": {"b": 2}},
            {"extra_body": {"a": 1, "b": 2}},
        ),
        (
            {"extra_query": {"a": "1"}},
            {"extra_query": {"b": "2"}},
            {"extra_query": {"a": "1", "b": "2"}},
        ),
        (
            {"extra_headers": {"X-Team": "a", "X-Trace": "b"}},
            {"extra_headers": {"x-trace": "c"}},
            {"extra_headers": {"X-Team": "a", "x-trace": "c"}},
        ),
        (
            {"metadata": {"team": "a"}},
            {"metadata": {"run": "b"}},
            {"metadata": {"team": "a", "run": "b"}},
        ),
        ({"text": {"format": {"type": "json_object"}}}, {"verbosity": "low"}, None),
        ({"extra_body": {"a": 1}}, {"extra_body": None}, {}),
        ({"reasoning": {"effort": "high", "summary": "auto"}}, {"reasoning": None}, {}),
    ],
)
def test_options_with_keys_of_their_own_are_merged(
    of_lm: dict[str, Any], of_call: dict[str, Any], merged: dict[str, Any] | None
) -> None:
    """What the LM says of one key is not lost when a call says something of another.

    The call's word is the last.
    """
    defaults = BUILT_IN["responses"].read_options(of_lm)
    before = repr(defaults)
    call = BUILT_IN["responses"].read_options(of_call)
    assert BUILT_IN["responses"].merge_options(defaults, call) == (
        of_lm | of_call if merged is None else merged
    )
    assert repr(defaults) == before


def test_what_contradicts_only_together_is_told_too() -> None:
    """Each half may be fine by itself."""
    defaults = BUILT_IN["chat"].read_options({"logprobs": True, "top_logprobs": 3})
    with pytest.raises(OptionError, match="logprobs=False and top_logprobs=3 contradict"):
        CHAT.merge_options(defaults, CHAT.read_options({"logprobs": False}))
    alone = CHAT.read_options({"logprobs": False, "top_logprobs": None})
    assert CHAT.merge_options(defaults, alone) == {"logprobs": False}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"extra_headers": ["a"]}, r"extra_headers must be a dictionary"),
        ({"extra_body": "a"}, "extra_body must be a dictionary"),
        ({"extra_query": 1}, "extra_query must be a dictionary"),
        ({"metadata": {1: "a"}}, "metadata must be a dictionary of names"),
        ({"extra_headers": {"X-A": None}}, "'X-A' cannot be sent"),
        ({"extra_headers": {"X-N": 3}}, "'X-N' cannot be sent"),
        ({"extra_headers": {"X-N": "na\u00efve"}}, "'X-N' cannot be sent"),
        ({"extra_headers": {"X-N": "a\r\nX-Forged: b"}}, "'X-N' cannot be sent"),
        ({"extra_headers": {"X N": "a"}}, "'X N' cannot be sent"),
        ({"extra_headers": {"X-N": " a"}}, "'X-N' cannot be sent.*without blanks at its ends"),
        ({"extra_headers": {"X-N": "a "}}, "'X-N' cannot be sent"),
        ({"extra_headers": {"X-N": "\ta b"}}, "'X-N' cannot be sent"),
        ({"extra_headers": {"X-N": " "}}, "'X-N' cannot be sent"),
        ({"stream_options": True}, "stream_options must be a dictionary"),
    ],
)
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_dictionaries_that_are_none(api: str, given: dict[str, Any], message: str) -> None:
    """Told before a call, in our words, instead of an error from somewhere inside it."""
    with pytest.raises(OptionError, match=message):
        BUILT_IN[api].read_options(given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"compact": "auto"}, "compact must be a function of items, not 'auto'; truncation='auto'"),
        ({"prices": {"x": {"input": 1}}}, "prices=.*'x'.*takes Price"),
        ({"prices": {"x": 5}}, "prices=.*'x': 5.*takes Price"),
        (
            {"prices": {"x": {"input": "1", "output": 2}}},
            "input must be a price in dollars, not '1'",
        ),
        ({"prices": {"x": Price(1, None)}}, "output must be a price in dollars, not None"),  # type: ignore[arg-type]
        ({"prices": [1]}, r"prices must be a table .*, not \[1\]"),
    ],
)
def test_an_lm_s_own_arguments_are_checked_when_it_is_made(
    given: dict[str, Any], message: str
) -> None:
    """A call that has been paid for is too late."""
    with pytest.raises(OptionError, match=message):
        LM("x", vendor=ScriptedVendor(), **given)


def test_chat_calls_never_chain_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """To ask for it is an error that says the way; the environment's wish is for LMs that can."""
    with pytest.raises(OptionError, match=r"previous_response_id= or lm\.fork\(\)"):
        LM("x", vendor=ScriptedVendor(api="chat"), auto_store_responses=True)
    monkeypatch.setenv("SYNTH_AI_AUTO_STORE_RESPONSES", "true")
    lm = LM("x", vendor=ScriptedVendor(api="chat"))
    assert lm.auto_store_responses is False
    assert lm.fork().auto_store_responses is True
