"""A request of either API, read: what it asks of an LM, and what goes back with the answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from synth_ai.api import API
from synth_ai.openai_api.json_types import JSONFields, JSONObject
from synth_ai.openai_api.refusals import RefusedRequestError, invalid_field

Fields = TypeVar("Fields", bound="RequestFields")

# Characters of a value that an error shows.
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class RequestedCall:
    """What a request asks for.

    Attributes:
        arguments: those of `LM.respond_async`.
        stream: whether the answer comes as events.
        is_kept: whether the answer can be retrieved and continued from.
        echo: what the body of the answer repeats of the request.
        include_usage: whether a stream of chat chunks ends with the usage.
    """

    arguments: JSONFields
    stream: bool = False
    is_kept: bool = True
    echo: Mapping[str, object] = field(default_factory=dict)
    include_usage: bool = False


class RequestFields(BaseModel):
    """The fields that both APIs have, and that are read here; all others are options."""

    model_config = ConfigDict(extra="allow", strict=True)

    model: str | None = None
    stream: bool | None = None
    stream_options: JSONObject | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    tools: list[JSONObject] | None = None
    tool_choice: str | JSONObject | None = None

    @property
    def options(self) -> Mapping[str, object]:
        """The fields that are not read here, by the names that the request has for them."""
        return self.model_extra or {}


def read_body(body: bytes) -> JSONObject:
    """Read the body of a request.

    Raises:
        RefusedRequestError: it is not a JSON object.
    """
    try:
        data = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RefusedRequestError(
            f"We could not parse the JSON body of your request ({type(error).__name__}). "
            "It must be a JSON object in UTF-8."
        ) from error

    if not isinstance(data, dict):
        raise RefusedRequestError(
            f"The JSON body of your request must be an object, not {_name_type(data)}."
        )
    return data


def _refuse_constant(name: str) -> NoReturn:
    """Refuse NaN and infinity, which Python reads and JSON does not have."""
    raise ValueError(f"{name} is not JSON")


def read_fields(kind: type[Fields], body: Mapping[str, object]) -> Fields:
    """Read the fields of a request.

    Raises:
        RefusedRequestError: one has another type than it must have; the error names it.
    """
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = _name_field(first["loc"])
        raise RefusedRequestError(
            f"Invalid type for '{name}': {first['msg']}, not {_name_type(first['input'])}.",
            code="invalid_type",
            param=name,
        ) from error


def read_metadata(api: API, request: RequestFields) -> JSONObject:
    """Read the metadata of a request, as an option of an LM; as tags if its API has none."""
    if request.metadata is None:
        return {}
    if api.accepts("metadata"):
        return {"metadata": request.metadata}
    return {"tags": request.metadata}


def check_stream_options(options: Mapping[str, object] | None, known: Sequence[str]) -> None:
    """Check that every option of a stream is one that is carried out here.

    `include_obfuscation` may be False: no event here has any.

    Raises:
        RefusedRequestError: one is not.
    """
    for name, value in (options or {}).items():
        field_name = f"stream_options.{name}"
        if not isinstance(value, bool):
            raise invalid_field(field_name, f"it must be true or false, not {_name_type(value)}.")
        is_asked_for = value and name not in known
        if is_asked_for:
            raise invalid_field(field_name, f"streams here have {' and '.join(known) or 'none'}.")


def _name_field(location: tuple[str | int, ...]) -> str:
    """Name the field that a validation error is about, without the members of a union.

    ::

        ("input", "list[...]", 0)  ->  input
        ("metadata", "a")          ->  metadata
    """
    return str(location[0]) if location else "body"


def _name_type(value: object) -> str:
    """Name a value of JSON for an error, without much of it: it may be long, or private."""
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, str):
        return "a string"
    return json.dumps(value)[:_SHOWN]
