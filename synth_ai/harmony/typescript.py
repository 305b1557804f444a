"""JSON schema to the TypeScript-like types that gpt-oss was trained to read.

What openai-harmony 0.0.8 renders is rendered the same here, comment by comment. What it gives up on with `any` is
said in full: references (inlined), unions, enums of any type, constants, tuples, nullable types and maps. Text from
the schema stays on the line it was put on, so that it cannot pose as another line of the prompt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from synth_ai.errors import ToolError

_SCALARS = {
    "string": "string",
    "number": "number",
    "integer": "number",
    "boolean": "boolean",
    "null": "null",
}
_WORD = re.compile(r"[\w.-]{1,64}")
#: References that one schema may have inlined. Definitions that each refer to others twice double with every level.
_MOST_REFERENCES = 2000
_PLAIN_KEY = re.compile(r"[^\s\"'`{}()\[\]:;,<>|\\/\x00-\x1f]+")


def to_typescript(schema: Any) -> str:
    """The type that `schema` describes.

    Raises:
        ToolError: the schema is not a mapping or boolean, refers to a definition that is not there, or grows without
            end when its references are inlined.
    """
    return _Renderer(schema).type_of(schema, "")


def fold(text: str) -> str:
    """`text` on one line, whatever its line breaks are."""
    lines = text.splitlines()
    if len(lines) < 2 and text == "".join(lines):
        return text
    return " ".join(line.strip() for line in lines if line.strip())


def literal(value: Any) -> str:
    """`value` as compact JSON on one line."""
    return fold(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


class _Renderer:
    """Renders the parts of one schema; `root` is where its references point."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._inside = ["#"]
        self._inlined = 0

    def type_of(self, schema: Any, indent: str) -> str:
        if isinstance(schema, bool):
            return "any" if schema else "never"
        if not isinstance(schema, Mapping):
            raise ToolError(f"A JSON schema must be an object, not {schema!r}.")
        if "$ref" in schema:
            return self._reference(schema, indent)
        if (cases := self._cases(schema)) is not None:
            hidden = [
                "*" if "oneOf" not in schema and self._is_object(case) else None for case in cases
            ]
            lead = f"\n{indent} | "
            return "".join(
                self._variant(case, lead, indent, one)
                for case, one in zip(cases, hidden, strict=True)
            )
        if "const" in schema:
            return literal(schema["const"])
        if isinstance(schema.get("enum"), list) and schema["enum"]:
            return " | ".join(map(literal, schema["enum"]))
        if isinstance(schema.get("anyOf"), list) and schema["anyOf"]:
            return self._union(schema["anyOf"], indent)
        if isinstance(schema.get("allOf"), list) and schema["allOf"]:
            return self._intersection(schema["allOf"], indent)
        if isinstance(schema.get("type"), list):
            return self._either(schema, indent)
        return self._named(schema, indent)

    def _either(self, schema: Mapping[str, Any], indent: str) -> str:
        """A type given as a list of names; the rest of the schema details the name it is about."""
        details = {
            "object": ("properties", "additionalProperties"),
            "array": ("items", "prefixItems"),
        }
        plain = {key: value for key, value in schema.items() if key != "description"}
        types = [
            name if name in details and not any(key in schema for key in details[name])
            else self._named({**plain, "type": name}, indent)
            for name in schema["type"]
        ]  # fmt: skip
        return " | ".join(types)

    def _named(self, schema: Mapping[str, Any], indent: str) -> str:
        kind = schema.get("type")
        if kind == "object" or (kind is None and "properties" in schema):
            return self._object(schema, indent)
        if kind == "array" or (kind is None and ("items" in schema or "prefixItems" in schema)):
            return self._array(schema, indent)
        return _SCALARS.get(kind, "any") if isinstance(kind, str) else "any"

    def _reference(self, schema: Mapping[str, Any], indent: str) -> str:
        name = schema["$ref"]
        if name in self._inside:  # a type that contains itself has no end when inlined
            return f"any /* {_called(name)} */"
        self._inlined += 1
        if self._inlined > _MOST_REFERENCES:
            raise ToolError(
                f"The schema needs more than {_MOST_REFERENCES} references inlined, {name!r} among them, which is more "
                "than a prompt should hold. Give the tool fewer or flatter types."
            )
        self._inside.append(name)
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        rendered = self.type_of({**self._definition(name), **beside}, indent)
        self._inside.pop()
        return rendered

    def _definition(self, name: Any) -> Mapping[str, Any]:
        found: Any = self._root
        if not isinstance(name, str) or not name.startswith("#"):
            raise ToolError(
                f"The reference {name!r} points outside the schema; only #/... can be resolved."
            )
        for step in name.removeprefix("#").split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            found = found.get(step) if isinstance(found, Mapping) else None
        if not isinstance(found, Mapping):
            raise ToolError(f"The schema refers to {name!r}, which it does not define.")
        return found

    def resolved(self, schema: Any) -> Any:
        """`schema` with the description and default that its definition gives it."""
        if isinstance(schema, Mapping) and "$ref" in schema and schema["$ref"] not in self._inside:
            about = ("description", "default", "nullable")
            inherited = {k: v for k, v in self._definition(schema["$ref"]).items() if k in about}
            return {**inherited, **schema}
        return schema

    def _union(self, variants: list[Any], indent: str) -> str:
        types = [self._inline(variant, indent) for variant in variants]
        return " | ".join(dict.fromkeys(types))

    def _cases(self, schema: Mapping[str, Any]) -> list[Any] | None:
        """What stands on a line each: the cases of a `oneOf`, or of an `anyOf` that has more to say than types."""
        if isinstance(schema.get("oneOf"), list):
            return list(schema["oneOf"])
        if not isinstance(schema.get("anyOf"), list):
            return None
        cases = [self.resolved(case) for case in schema["anyOf"]]
        if not any(
            isinstance(case, Mapping) and "description" in case and not self._is_object(case)
            for case in cases
        ):
            return None
        return [*cases, {"type": "null"}] if schema.get("nullable") is True else cases

    def _is_object(self, schema: Any) -> bool:
        """Whether it is rendered as an object, which has its description inside."""
        target = self._target(schema)
        return isinstance(target, Mapping) and (
            target.get("type") == "object" or "properties" in target
        )

    def _intersection(self, parts: list[Any], indent: str) -> str:
        if len(parts) == 1:
            return self.type_of(parts[0], indent)
        return " & ".join(self._grouped(part, indent) if self._is_union(part) else self.type_of(part, indent)
                          for part in parts)  # fmt: skip

    def _is_union(self, schema: Any) -> bool:
        target = self._target(schema)
        if not isinstance(target, Mapping):
            return False
        cases = (target.get(key) for key in ("oneOf", "enum", "anyOf", "type"))
        return any(isinstance(case, list) and len(case) > 1 for case in cases)

    def _inline(self, schema: Any, indent: str) -> str:
        """A type that something else can follow: what has a line for each case goes into parentheses."""
        rendered = self.type_of(schema, indent)
        return f"({rendered}\n{indent})" if rendered.startswith("\n") else rendered

    def _grouped(self, schema: Any, indent: str) -> str:
        """A type in parentheses, the closing one outside of a comment that the type may end with."""
        rendered = self.type_of(schema, indent)
        return f"({rendered}\n{indent})" if rendered.startswith("\n") else f"({rendered})"

    def _array(self, schema: Mapping[str, Any], indent: str) -> str:
        if isinstance(schema.get("prefixItems"), list):
            return (
                "[" + ", ".join(self._inline(item, indent) for item in schema["prefixItems"]) + "]"
            )
        if "items" not in schema:
            return "Array<any>"
        items = schema["items"]
        grouped = _needs_parentheses(self._target(items))
        return f"{self._grouped(items, indent) if grouped else self.type_of(items, indent)}[]"

    def _target(self, schema: Any) -> Any:
        seen = 0
        while isinstance(schema, Mapping) and "$ref" in schema and seen < 20:
            schema, seen = self._definition(schema["$ref"]), seen + 1
        return schema

    def _object(self, schema: Mapping[str, Any], indent: str) -> str:
        properties = schema.get("properties")
        values = schema.get("additionalProperties")
        if not properties and isinstance(values, Mapping) and values:
            return f"Record<string, {self._inline(values, indent)}>"
        lines = ["{\n"]
        if isinstance(schema.get("description"), str):
            lines.insert(0, f"{indent}// {fold(schema['description'])}\n")
        if isinstance(properties, Mapping):
            required = schema.get("required")
            required = set(required) if isinstance(required, list) else set()
            for key, value in properties.items():
                lines += self._property(
                    key, self.resolved(value), "" if key in required else "?", indent
                )
        if isinstance(values, Mapping) and values:
            lines.append(f"{indent}[key: string]: {self._inline(values, indent + '    ')},\n")
        return "".join(lines) + indent + "}"

    def _property(self, key: str, schema: Any, mark: str, indent: str) -> Iterator[str]:
        name = key if _PLAIN_KEY.fullmatch(key) else literal(key)
        if not isinstance(schema, Mapping):
            yield f"{indent}{name}{mark}: {self.type_of(schema, indent + '    ')},\n"
            return
        yield from _title(key, schema, indent)
        variants = self._cases(schema)
        description = schema.get("description")
        if variants is None:
            if isinstance(description, str):
                yield f"{indent}// {fold(description)}\n"
            yield from _examples(schema, indent)
            type_of = self._inline if "$ref" in schema else self.type_of
            rendered = _nullable(schema, type_of(schema, indent + "    "))
            default = f" // {_default(schema)}" if "default" in schema else ""
            yield f"{indent}{name}{mark}: {rendered},{default}\n"
            return
        yield from _examples(schema, indent)
        first = (
            variants[0].get("description")
            if variants and isinstance(variants[0], Mapping)
            else None
        )
        exclusive = "oneOf" in schema
        above = isinstance(description, str) and not (exclusive and description == first)
        if above:
            yield f"{indent}// {fold(str(description))}\n"
        if "default" in schema:
            yield f"{indent}// {_default(schema)}\n"
        yield f"{indent}{name}{mark}:\n"
        for number, variant in enumerate(variants):
            # 0.0.8 leaves out the first description of a `oneOf` that has one itself, and is followed there.
            said = number == 0 and above if exclusive else self._is_object(variant)
            hidden = "*" if said else description
            yield self._variant(variant, f"{indent} | ", indent, hidden, bare=True) + "\n"
        yield f"{indent},\n"

    def _variant(
        self, variant: Any, lead: str, indent: str, hidden: Any, *, bare: bool = False
    ) -> str:
        """One case of a `oneOf`, its description behind it unless it is `hidden` ("*" hides any)."""
        rendered = self.type_of(variant, indent + "   ")
        if not isinstance(variant, Mapping):
            return lead + rendered
        notes = []
        description = variant.get("description")
        if isinstance(description, str) and hidden != "*" and description != hidden:
            notes.append(fold(description))
        if "default" in variant:
            notes.append(_default(variant) if bare else f"default: {literal(variant['default'])}")
        return lead + _nullable(variant, rendered) + (f" // {' '.join(notes)}" if notes else "")


def _needs_parentheses(items: Any) -> bool:
    # 0.0.8 writes an array of string enums, of a list of types or of a oneOf without them, and is followed there.
    if not isinstance(items, Mapping):
        return False
    if "enum" in items:
        return items.get("type") != "string" and len(items["enum"]) > 1
    return any(len(items.get(key) or ()) > 1 for key in ("anyOf", "allOf"))


def _called(reference: str) -> str:
    """What to call a type that contains itself, where it does."""
    name = reference.rpartition("/")[2]
    return f"{name} again" if _WORD.fullmatch(name) else "the same again"


def _nullable(schema: Mapping[str, Any], rendered: str) -> str:
    return (
        f"{rendered} | null"
        if schema.get("nullable") is True and "null" not in rendered
        else rendered
    )


def _default(schema: Mapping[str, Any]) -> str:
    value = schema["default"]
    bare = isinstance(value, str) and bool(schema.get("enum"))
    return f"default: {fold(value) if bare else literal(value)}"


def _title(key: str, schema: Mapping[str, Any], indent: str) -> Iterator[str]:
    title = schema.get("title")
    # A title that pydantic made from the name says nothing new.
    if isinstance(title, str) and title.lower() != key.replace("_", " ").lower():
        yield f"{indent}// {fold(title)}\n{indent}//\n"


def _examples(schema: Mapping[str, Any], indent: str) -> Iterator[str]:
    examples = schema.get("examples")
    if isinstance(examples, list) and examples:
        yield f"{indent}// Examples:\n"
        for example in examples:
            if isinstance(example, str):
                yield f"{indent}// - {literal(example)}\n"
