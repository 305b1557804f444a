"""The JSON schema of a tool's arguments, and whether a call's arguments fit it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from synth_ai.errors import ToolError

#: The longest that the model is told of one mistake; jsonschema quotes all of the arguments.
_MAX_REASON = 300

_NO_PARAMETERS = {"type": "object", "properties": {}, "additionalProperties": False}


@dataclass(frozen=True, slots=True)
class ArgumentsSchema:
    """The JSON schema of a tool's arguments.

    Attributes:
        schema: the schema, of an object.
        find_mistake: says what is wrong with some arguments; None if they fit.
    """

    schema: Mapping[str, Any]
    find_mistake: Callable[[object], str | None]

    @classmethod
    def of(cls, parameters: Mapping[str, Any] | None, tool_name: str) -> ArgumentsSchema:
        """Read the schema of a tool.

        Args:
            parameters: the schema; None for a tool without arguments.
            tool_name: the tool, for errors.

        Raises:
            ToolError: it is not the JSON schema of an object.
        """
        if parameters is None:
            parameters = _NO_PARAMETERS
        if not isinstance(parameters, Mapping):
            raise ToolError(
                f"The parameters of the tool {tool_name!r} must be a JSON schema such as "
                f"{{'type': 'object', 'properties': {{...}}}}, not {parameters!r:.100}."
            )
        if parameters.get("type", "object") != "object":
            raise ToolError(
                f"The parameters of the tool {tool_name!r} must be the schema of an object, as "
                f"arguments have names, not of the type {parameters['type']!r:.100}."
            )
        schema = {"type": "object", "properties": {}, **parameters}
        return cls(schema, _make_check(schema, tool_name))

    @property
    def names(self) -> list[str]:
        """The names of the arguments, in the order of the schema."""
        return list(self.schema["properties"])

    def check(self, arguments: object) -> dict[str, Any]:
        """Return the arguments, which must fit.

        Raises:
            ValueError: they do not; the message says where and why.
        """
        mistake = self.find_mistake(arguments)
        if mistake is not None:
            raise ValueError(mistake)
        assert isinstance(arguments, Mapping)
        return dict(arguments)


def _make_check(schema: Mapping[str, Any], tool_name: str) -> Callable[[object], str | None]:
    """Make the function that checks arguments.

    Raises:
        ToolError: the schema is not a JSON schema.
    """
    # Only programs that have such tools need the library.
    from jsonschema import SchemaError
    from jsonschema.exceptions import best_match
    from referencing.exceptions import Unresolvable

    try:
        validator = _make_validator(json.dumps(schema))
    except (SchemaError, TypeError, ValueError) as error:
        reason = error.message if isinstance(error, SchemaError) else str(error)
        raise ToolError(
            f"The parameters of the tool {tool_name!r} are not a JSON schema: "
            f"{reason:.{_MAX_REASON}}"
        ) from error

    def find_mistake(arguments: object) -> str | None:
        try:
            mistake = best_match(validator.iter_errors(arguments))
        except Unresolvable as error:
            return f"the tool's own schema refers to something it does not have: {error}"
        if mistake is None:
            return None

        place = ".".join(map(str, mistake.absolute_path))
        message = f"{mistake.message:.{_MAX_REASON}}"
        return f"{place}: {message}" if place else message

    return find_mistake


# Tools that are given with every call would cost milliseconds each, every time.
@lru_cache(maxsize=1024)
def _make_validator(schema_json: str) -> Any:
    """Make the validator of a JSON schema.

    Raises:
        SchemaError: it is not one.
    """
    from jsonschema.validators import validator_for
    from referencing import Registry

    schema = json.loads(schema_json)
    validator_type = validator_for(schema)
    validator_type.check_schema(schema)

    # The empty registry is what keeps a schema of others from having its $ref fetched.
    registry: Registry[Any] = Registry()
    return validator_type(schema, registry=registry)
