"""Which option each API takes, and what is wrong with the ones it does not.

Options are checked by name when they are given, so that a misspelt one is an error and never silently dropped; their
values are checked then, and again as they come out for a call. A call's option replaces the LM's; those of `MERGED`,
which are dictionaries of independent settings, are merged key by key instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from synth_ai.errors import OptionError, did_you_mean
from synth_ai.lm import parameters
from synth_ai.lm.request import stop_strings
from synth_ai.lm.vendors.families import ApiType
from synth_ai.timeout import Timeout

#: Options that mean the same on every API that has them; each backend gives them its own name.
COMMON = frozenset({"temperature", "max_tokens", "reasoning_effort", "stop", "tool_choice"})

#: Options of LM itself, handled before a backend sees the call.
_OWN = frozenset({"include_reasoning", "timeout", "truncation"})

#: What the SDK adds to any call.
_EXTRAS = frozenset({"extra_body", "extra_headers", "extra_query"})

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")

#: Options whose keys stand each for itself: a call's keys come on top of the LM's.
MERGED = frozenset({*_EXTRAS, "metadata", "stream_options", "reasoning", "text"})

#: What Responses has inside an option of its own, and other APIs by a name: (option, key) to that name.
_INSIDE: Mapping[tuple[str, str], str] = {
    ("reasoning", "effort"): "reasoning_effort",
    ("text", "verbosity"): "verbosity",
}

#: Names that LM uses itself, and what to write in their place.
_RESERVED: Mapping[str, str] = {
    "input": "Give the prompt as positional strings, messages= or tool_outputs=.",
    "instructions": "Give the system message as the first of two strings, or as system_message=.",
    "stream": "Use stream_async() or stream_sync().",
    "previous_response_id": "It goes to a call, not to the LM: lm.respond(..., previous_response_id=...).",
    "conversation": "Branches are addressed by response id: previous_response_id=, or lm.fork(response_id).",
    "n": "Ask n times: respond_batch([prompt] * n), each with a seed= of its own where you set one. Each answer then "
    "has an id to continue from.",
    "messages": "It goes to a call, not to the LM: lm.respond(messages=...).",
    "model": "An LM speaks to one model; make another LM for another.",
    "functions": "Use tools=.",
    "function_call": "Use tool_choice=.",
}

#: Names from elsewhere that mean something here, where the API at hand has no option of that name.
_MEANT: Mapping[str, str] = {
    "system": "Give the system message as the first of two strings, or as system_message=.",
    "system_prompt": "Give the system message as the first of two strings, or as system_message=.",
    "image": "Pictures go into images=[...].",
    "max_output_tokens": "Use max_tokens=, which is the same on every API.",
    "max_completion_tokens": "Use max_tokens=, which is the same on every API.",
    "response_format": "Use response_model=, which takes a type or a schema.",
    "text_format": "Use response_model=, which takes a type or a schema.",
    "retry": "It goes to the LM, not to a call: LM(..., retry=5).",
    "max_retries": "Use retry= of the LM: a number of tries, or a RetryPolicy.",
    "organization": "Set OPENAI_ORG_ID in the environment, or give extra_headers={'OpenAI-Organization': ...}.",
    "project": "Set OPENAI_PROJECT_ID in the environment, or give extra_headers={'OpenAI-Project': ...}.",
}

#: Those of them that an API has too, with something else for a value.
_WRITTEN_OUT = frozenset({"image", "response_format"})

#: What gpt-oss can be told on harmony: sampling, and the lines of its system message.
_HARMONY = frozenset(
    {
        "top_p",
        "top_k",
        "min_p",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "repetition_penalty",
        "logprobs",
        "top_logprobs",
        "reasoning_budget",
        "knowledge_cutoff",
        "model_identity",
    }
)

ACCEPTED: Mapping[ApiType, frozenset[str]] = {
    "chat": (parameters.CHAT - _RESERVED.keys()) | COMMON | _OWN | _EXTRAS,
    "responses": (parameters.RESPONSES - _RESERVED.keys())
    | (COMMON - {"stop"})
    | {"verbosity", "logprobs"}
    | _OWN
    | _EXTRAS,
    "harmony": _HARMONY | COMMON | _OWN,
}

#: Names of other APIs for the same thing: (API, name) to the name here.
_ALIASES: Mapping[tuple[str, str], str] = {
    ("chat", "max_completion_tokens"): "max_tokens",
    ("responses", "max_output_tokens"): "max_tokens",
}

EFFORTS: Mapping[ApiType, tuple[str, ...]] = {
    "chat": ("none", "minimal", "low", "medium", "high", "xhigh", "max"),
    "responses": ("none", "minimal", "low", "medium", "high", "xhigh", "max"),
    "harmony": ("low", "medium", "high"),
}


@dataclass(frozen=True, slots=True)
class Options:
    """Options of an LM or of one call, checked against the API.

    Attributes:
        values: the options by their names here; an alias of the API is already translated.
    """

    api: ApiType
    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, api: ApiType, given: Mapping[str, Any]) -> Options:
        """Check names and the values whose range is known.

        Raises:
            OptionError: a name is unknown to this API, belongs to LM itself, or is given twice under two names.
        """
        values: dict[str, Any] = {}
        for name, value in given.items():
            check_name(api, name)
            own = _ALIASES.get((api, name), name)
            if own in values and value is not None:
                raise OptionError(f"{name} and {own} are the same option here; give one of them.")
            values[own] = value
        _check_dictionaries(values)
        if api == "responses":
            _take_out(values)
        _check_values(api, values)
        return cls(api, values)

    def over(self, defaults: Options) -> dict[str, Any]:
        """These options on top of `defaults`; None takes an option back to the backend's own default.

        Raises:
            OptionError: the two contradict each other.
        """
        merged = {**defaults.values, **self.values}
        for name in MERGED & self.values.keys() & defaults.values.keys():
            if self.values[name] is not None and defaults.values[name] is not None:
                merged[name] = _merged(name, defaults.values[name], self.values[name])
        merged = {name: value for name, value in merged.items() if value is not None}
        _check_values(self.api, merged)
        return merged


def _merged(name: str, below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    if name == "extra_headers":
        # HTTP does not mind the case of a header's name.
        said = {key.lower() for key in above}
        below = {key: value for key, value in below.items() if key.lower() not in said}
    return {**below, **above}


def _check_dictionaries(values: Mapping[str, Any]) -> None:
    for name in _WRITTEN_OUT & values.keys():
        if values[name] is not None and not isinstance(values[name], Mapping):
            raise OptionError(
                f"{name}= takes a dictionary of the API's own, not {values[name]!r:.100}. {_MEANT[name]}"
            )
    for name in MERGED & values.keys():
        value = values[name]
        if value is not None and not (
            isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
        ):
            raise OptionError(f"{name}={value!r} is no dictionary of names to values.")
    for name, value in (values.get("extra_headers") or {}).items():
        # The value may be a key, so it is not shown.
        if not (
            _HEADER_NAME.fullmatch(name)
            and isinstance(value, str)
            and _HEADER_VALUE.fullmatch(value)
        ):
            raise OptionError(
                f"extra_headers: {name!r} cannot be sent; a header is a name and a string of ASCII in one line."
            )


def _take_out(values: dict[str, Any]) -> None:
    """What is inside `reasoning=` and `text=` under the name that it has of its own, so that each is said once."""
    for (name, key), own in _INSIDE.items():
        if name in values and values[name] is None:
            # Taking the whole back takes this back, too.
            values.setdefault(own, None)
        inside = values.get(name) or {}
        if key not in inside:
            continue
        if values.get(own) not in (None, inside[key]):
            raise OptionError(
                f"{own}={values[own]!r} and {name}={{{key!r}: {inside[key]!r}}} contradict each other."
            )
        values[own] = inside[key]
        values[name] = {other: value for other, value in inside.items() if other != key}


def check_name(api: ApiType, name: str) -> None:
    """Refuse an option that `api` does not have.

    Raises:
        OptionError: with the way to say it, or the nearest name.
    """
    if name in ACCEPTED[api]:
        return
    if name in _RESERVED:
        raise OptionError(f"{name}= is not an option here. {_RESERVED[name]}")
    if name in _MEANT:
        raise OptionError(f"{name}= is no option of the {api} API. {_MEANT[name]}")
    elsewhere = [other for other in ACCEPTED if name in ACCEPTED[other]]
    if elsewhere:
        raise OptionError(
            f"{name}= is an option of {' and '.join(elsewhere)}, which the {api} API does not have. "
            + (
                "Cut the answer yourself, or use api='chat'."
                if name == "stop"
                else f"Leave it out, or use api={elsewhere[0]!r}."
            )
        )
    hint = did_you_mean(name, ACCEPTED[api])
    extra = (
        "" if api == "harmony" else " What the SDK does not know yet goes through extra_body={...}."
    )
    raise OptionError(f"{name}= is no option of the {api} API.{hint}{extra}")


def _check_values(api: ApiType, values: Mapping[str, Any]) -> None:
    effort = values.get("reasoning_effort")
    if effort is not None and effort not in EFFORTS[api]:
        raise OptionError(
            f"reasoning_effort={effort!r} is not known on {api}; it takes {', '.join(EFFORTS[api])}."
        )
    max_tokens = values.get("max_tokens")
    if max_tokens is not None and (
        isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 1
    ):
        raise OptionError(f"max_tokens={max_tokens!r} generates nothing; it takes a number from 1.")
    temperature = values.get("temperature")
    if temperature is not None and not (_is_number(temperature) and 0 <= temperature <= 2):
        raise OptionError(f"temperature={temperature!r} is out of range; it goes from 0 to 2.")
    timeout = Timeout.of(values.get("timeout"))
    if api == "harmony" and (timeout.connect or timeout.first_byte):
        raise OptionError(
            "timeout=Timeout(connect=, first_byte=) is for chat and Responses servers. On harmony a call takes a "
            "total; RemoteEngine(timeout=) has its own limit for a silent server."
        )
    stop = values.get("stop")
    if stop is not None and not _are_stops(stop):
        raise OptionError(
            f"stop={stop!r} stops nowhere; it takes a string or a list of strings that are not empty."
        )
    truncation = values.get("truncation")
    if truncation not in (None, "auto", "disabled"):
        raise OptionError(f"truncation={truncation!r} is unknown; it takes auto or disabled.")
    if values.get("logprobs") is False and values.get("top_logprobs"):
        raise OptionError(
            f"logprobs=False and top_logprobs={values['top_logprobs']!r} contradict each other; "
            "top_logprobs=None takes the LM's own back."
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _are_stops(stop: Any) -> bool:
    return isinstance(stop, (str, list, tuple)) and all(
        isinstance(text, str) and text for text in stop_strings(stop)
    )
