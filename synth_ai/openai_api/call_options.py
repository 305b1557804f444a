"""The options of a request, as options of an LM. Pure.

What a request may ask for is what the LM's own API takes, under the names that OpenAI's two APIs
have. What an API does not take is refused, unless the request only asks for what is so anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from synth_ai.api import API
from synth_ai.errors import OptionError
from synth_ai.openai_api.json_types import JSONObject
from synth_ai.openai_api.refusals import RefusedRequestError, invalid_field, unsupported_field
from synth_ai.options import GenerationOptions

#: The names that the APIs have for the most tokens of an answer.
_MAX_TOKENS = frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens"})

#: Values that ask for nothing: an API without the option does that anyway.
_DEFAULTS: Mapping[str, tuple[object, ...]] = {
    "background": (False,),
    "frequency_penalty": (0,),
    "logprobs": (False,),
    "modalities": (["text"],),
    "parallel_tool_calls": (True,),
    "presence_penalty": (0,),
    "service_tier": ("auto", "default"),
    "top_logprobs": (0,),
    "verbosity": ("medium",),
}

#: What goes along with a call of an LM's owner, and is nothing for a request to set.
_OWNERS = frozenset({"extra_body", "extra_headers", "extra_query"})

#: What to do instead of a field that no LM takes.
_INSTEAD: Mapping[str, str] = {
    "conversation": "Continue from a response by previous_response_id.",
    "function_call": "Use tool_choice.",
    "functions": "Use tools.",
    "prompt": "Give the prompt as input and instructions.",
}


def read_options(api: API, given: Mapping[str, object]) -> JSONObject:
    """Read fields of a request as options of an LM.

    Args:
        api: the LM's.
        given: the fields, by the names that the request has for them; None counts as not given.

    Raises:
        RefusedRequestError: the API does not take one, or not this value; the error names it.
    """
    options: JSONObject = {}
    for field, value in given.items():
        option = read_option(api, field, value, name=_option_name(api, field))
        if option.keys() & options.keys():
            raise invalid_field(field, "another field of this request means the same.")
        options |= option
    return options


def read_option(api: API, field: str, value: object, *, name: str) -> JSONObject:
    """Read one field of a request as an option of an LM.

    Args:
        api: the LM's.
        field: what the request calls it, such as `reasoning.effort`.
        value: what it has; None counts as not given.
        name: what an LM calls it.

    Returns:
        The option by its name; nothing if the request asks for what is so anyway.

    Raises:
        RefusedRequestError: the API does not take it, or not this value.
    """
    if value is None:
        return {}

    _check_type(field, name, value)
    if not api.accepts(name) or name in _OWNERS:
        if _asks_for_nothing(api, name, value):
            return {}
        raise _refuse(api, field)

    _check_value(api, field, {name: value})
    return {name: value}


def _asks_for_nothing(api: API, name: str, value: object) -> bool:
    """Whether an option that an API does not have asks for what is so anyway."""
    if name == "parallel_tool_calls" and api.ends_at_a_call:
        return True
    return value in _DEFAULTS.get(name, ())


def _option_name(api: API, field: str) -> str:
    """Return the name that an LM has for a field: its own where the API has it."""
    if field in _MAX_TOKENS and not api.accepts(field):
        return "max_tokens"
    return field


def _refuse(api: API, field: str) -> RefusedRequestError:
    instead = _INSTEAD.get(field, "Leave it out.")
    return unsupported_field(field, f"The {api.name} API behind it has no such option. {instead}")


def _check_type(field: str, name: str, value: object) -> None:
    """Check a value against the type that the option has for type checkers.

    Raises:
        RefusedRequestError: it has another.
    """
    if name not in GenerationOptions.__annotations__:
        return
    try:
        _adapter_of(name).validate_python(value)
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"]
        raise RefusedRequestError(
            f"Invalid type for '{field}': {reason}, not {value!r:.80}.",
            code="invalid_type",
            param=field,
        ) from error


def _check_value(api: API, field: str, option: Mapping[str, object]) -> None:
    """Check a value by the option's own rule.

    Raises:
        RefusedRequestError: it does not fit.
    """
    try:
        api.read_options(option)
    except OptionError as error:
        raise invalid_field(field, str(error)) from error


@lru_cache
def _adapter_of(name: str) -> TypeAdapter[Any]:
    kind = GenerationOptions.__annotations__[name]
    return TypeAdapter(kind, config=ConfigDict(strict=True, arbitrary_types_allowed=True))
