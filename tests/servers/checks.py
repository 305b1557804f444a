"""Checks of request and answer bodies against the types of the installed openai SDK."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from openai.types import Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)
from openai.types.responses import Response, ResponseItemList, ResponseStreamEvent
from openai.types.responses.response_create_params import (
    ResponseCreateParamsNonStreaming,
    ResponseCreateParamsStreaming,
)
from pydantic import TypeAdapter, ValidationError
from pydantic_core import SchemaValidator

# (route, streaming) to the type of the body that the SDK sends there.
REQUESTS: dict[tuple[str, bool], Any] = {
    ("/v1/responses", False): ResponseCreateParamsNonStreaming,
    ("/v1/responses", True): ResponseCreateParamsStreaming,
    ("/v1/chat/completions", False): CompletionCreateParamsNonStreaming,
    ("/v1/chat/completions", True): CompletionCreateParamsStreaming,
}

ANSWERS: dict[str, Any] = {
    "response": Response,
    "response event": ResponseStreamEvent,
    "input items": ResponseItemList,
    "chat completion": ChatCompletion,
    "chat chunk": ChatCompletionChunk,
    "model": Model,
}


def request_problems(
    route: str, body: dict[str, Any], *, allowed: frozenset[str] = frozenset()
) -> list[str]:
    """What the SDK's parameter types do not allow in a create body; empty when all is well.

    Unknown keys count at any depth. `allowed` names top-level keys to leave out, for what a test
    sends on purpose.
    """
    checked = {name: value for name, value in body.items() if name not in allowed}
    try:
        _request_validator(route, bool(body.get("stream"))).validate_python(checked, strict=True)
    except ValidationError as error:
        return _told(f"POST {route}", error)
    return []


def answer_problems(kind: str, body: Any) -> list[str]:
    """What the SDK's model of an answer (a key of `ANSWERS`) does not allow in `body`."""
    try:
        _answer_adapter(kind).validate_python(body)
    except ValidationError as error:
        return _told(kind, error)
    return []


def _told(what: str, error: ValidationError) -> list[str]:
    """The problems in words; of a union, only of the members with the right `type` or `role`."""
    problems = error.errors(include_url=False, include_input=False)
    other_members = [
        problem["loc"][:-1]
        for problem in problems
        if problem["type"] in ("literal_error", "missing")
        and problem["loc"][-1] in ("type", "role")
    ]
    near = [
        problem
        for problem in problems
        if not any(problem["loc"][: len(member)] == member for member in other_members)
    ]
    return [
        f"{what}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}"
        for problem in (near or problems)[:8]
    ]


@lru_cache
def _request_validator(route: str, streaming: bool) -> SchemaValidator:
    adapter: TypeAdapter[Any] = TypeAdapter(REQUESTS[route, streaming])
    return SchemaValidator(_strict(adapter.core_schema))


@lru_cache
def _answer_adapter(kind: str) -> TypeAdapter[Any]:
    return TypeAdapter(ANSWERS[kind])


def _strict(schema: Any) -> Any:
    """A pydantic schema that also looks into iterables and refuses unknown keys.

    The SDK writes `Iterable[...]` for lists, which pydantic checks only when somebody iterates,
    so never here.
    """
    if isinstance(schema, list | tuple):
        return type(schema)(_strict(part) for part in schema)
    if not isinstance(schema, dict):
        return schema
    strict = {key: _strict(value) for key, value in schema.items()}
    if strict.get("type") == "generator":
        strict["type"] = "list"
    if strict.get("type") == "typed-dict":
        strict["extra_behavior"] = "forbid"
    return strict
