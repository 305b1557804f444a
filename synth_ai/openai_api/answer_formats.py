"""The shape that a request wants its answer in, as arguments of an LM's call. Pure.

::

    {"type": "text"}

    {"type": "json_object"}

    {"type": "json_schema", "name": "city", "schema": {...}, "strict": true}          Responses

    {"type": "json_schema", "json_schema": {"name": "city", "schema": {...}, ...}}    Chat
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from synth_ai.api import API
from synth_ai.lm.structured_output import ResponseFormat
from synth_ai.openai_api.json_types import JSONObject
from synth_ai.openai_api.refusals import invalid_field

#: Any JSON object, where an API has no word for that.
_ANY_OBJECT = {"type": "object"}


class SchemaFormat(BaseModel):
    """A JSON schema for the answer, as both APIs describe one."""

    model_config = ConfigDict(strict=True)

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")
    schema_: JSONObject = Field(default_factory=lambda: dict(_ANY_OBJECT), alias="schema")
    strict: bool | None = None
    description: str | None = None


def read_answer_format(
    api: API, answer_format: Mapping[str, object] | None, field: str
) -> JSONObject:
    """Read the format that a request names.

    Args:
        api: the LM's.
        answer_format: the format; None for plain text.
        field: where the request has it, for errors.

    Returns:
        The arguments of the call. They always have a `response_model`, as the LM's own is not the
        request's.

    Raises:
        RefusedRequestError: there is no such format, or it is malformed.
    """
    if answer_format is None:
        return {"response_model": None}

    match answer_format.get("type"):
        case "text":
            return {"response_model": None}
        case "json_object":
            return _read_any_object(api)
        case "json_schema":
            return {"response_model": _read_schema(answer_format, field)}

    raise invalid_field(
        f"{field}.type",
        f"it must be text, json_object or json_schema, not {answer_format.get('type')!r:.80}.",
    )


def _read_any_object(api: API) -> JSONObject:
    wanted = {"type": "json_object"}
    if api.accepts("response_format"):
        return {"response_model": None, "response_format": wanted}
    if api.accepts("text"):
        return {"response_model": None, "text": {"format": wanted}}

    any_object = ResponseFormat(
        name="object", schema=_ANY_OBJECT, grammar=_ANY_OBJECT, strict=False
    )
    return {"response_model": any_object}


def _read_schema(answer_format: Mapping[str, object], field: str) -> ResponseFormat:
    described = answer_format.get("json_schema", answer_format)
    try:
        read = SchemaFormat.model_validate(described)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join([field, *map(str, first["loc"])])
        raise invalid_field(place, f"{first['msg']}.") from error

    schema = read.schema_
    if read.description is not None:
        schema = {"description": read.description, **schema}
    return ResponseFormat(name=read.name, schema=schema, grammar=schema, strict=bool(read.strict))
