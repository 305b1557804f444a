"""JSON schema to the TypeScript-like types that gpt-oss was trained to read.

What openai-harmony 0.0.8 renders is rendered the same here, comment by comment, its oddities
included: the model was trained on them. What it gives up on with `any` is written in full:
references (inlined), unions, enums of any type, constants, tuples, nullable types and maps. What
combines types says nothing against what stands beside it: both are written. Text
from the schema stays on the line it was put on, so that it cannot pose as another line of the
prompt.

    {"properties": {"city": {"type": "string", "description": "A town"}}, "required": ["city"]}
    ->
    {
    // A town
    city: string,
    }

https://github.com/openai/harmony/blob/main/src/encoding.rs (json_schema_to_typescript)
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias, TypeGuard

from synth_ai.errors import ToolError

Schema: TypeAlias = Mapping[str, object]

_SCALARS = {
    "string": "string",
    "number": "number",
    "integer": "number",
    "boolean": "boolean",
    "null": "null",
}

#: What a schema says of objects and arrays beside their type.
_DETAILS = {
    "object": ("properties", "additionalProperties"),
    "array": ("items", "prefixItems"),
}

#: What combines types. What a schema says beside it holds as well.
_COMBINATIONS = ("oneOf", "anyOf", "allOf")

#: What makes a type of a schema that does not name one.
_TYPE_KEYS = {"$ref", "const", "enum", *_COMBINATIONS}

#: What a reference takes over from its definition, to stand in the comment of a property.
_INHERITED = ("description", "default", "nullable")

#: References that one schema may have inlined. Definitions that each refer to others twice double
#: with every level.
_MAX_REFERENCES = 2000

#: References to references that are followed to see what a type is: these may go in a circle.
_MAX_HOPS = 20

# The name of a definition that can stand in a comment, as it cannot end it.
_WORD = re.compile(r"[\w.-]{1,64}")

# The name of a property that needs no quotation marks.
_PLAIN_KEY = re.compile(r"[^\s\"'`{}()\[\]:;,<>|\\/\x00-\x1f]+")


def to_typescript(schema: object) -> str:
    """Render the type that a JSON schema describes.

    Raises:
        ToolError: the schema is not a mapping or boolean, holds what JSON does not have, refers to
            a definition that is not there, or is nested too deeply, perhaps without end.
    """
    try:
        return _Renderer(schema).type_of(schema, "")
    except RecursionError as error:
        raise ToolError("The schema is nested too deeply to be rendered.") from error


def fold(text: str) -> str:
    """Put a text on one line, whatever its line breaks are. Without any it stays as it is."""
    lines = text.splitlines()
    if lines == [text]:
        return text

    stripped_lines = [line.strip() for line in lines]
    return " ".join(filter(None, stripped_lines))


def literal(value: object) -> str:
    """Render a value as compact JSON on one line.

    Raises:
        ToolError: the value holds what JSON does not have.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise ToolError(f"A schema must be JSON, which {value!r:.100} is not: {error}.") from error

    # JSON escapes \n and \r, but not the line breaks beyond ASCII.
    return fold(text)


class _Renderer:
    """Renders the parts of one schema.

    Args:
        root: the whole schema, in which its references point.
    """

    def __init__(self, root: object) -> None:
        self._root = root
        self._open_references: list[object] = ["#"]
        self._inlined_references = 0

    def type_of(self, schema: object, indent: str) -> str:
        """Render the type of a schema; lines after the first begin with `indent`."""
        if isinstance(schema, bool):
            return "any" if schema else "never"
        if not isinstance(schema, Mapping):
            raise ToolError(f"A JSON schema must be an object, not {schema!r}.")

        # What says most comes first: `{"type": "string", "enum": [...]}` is an enum.
        if "$ref" in schema:
            return self._render_reference(schema, indent)

        combinations = _list_combinations(schema)
        if combinations and _has_details(schema):
            return self._render_combined(schema, combinations, indent)

        cases = self._list_cases(schema)
        if cases is not None:
            return self._render_cases(cases, indent, is_one_of="oneOf" in schema)

        if "const" in schema:
            return literal(schema["const"])

        enum = schema.get("enum")
        if _is_nonempty_list(enum):
            return " | ".join(map(literal, enum))

        if "anyOf" in combinations:
            return self._render_union(combinations["anyOf"], indent)
        if "allOf" in combinations:
            return self._render_intersection(combinations["allOf"], indent)

        return self._render_by_type(schema, indent)

    def _render_combined(
        self, schema: Schema, combinations: Mapping[str, list[object]], indent: str
    ) -> str:
        """Render an object or array that is of combined types besides.

        ::

            {
            kind: string,
            } & ({
            width: number,
            } | {
            radius: number,
            })
        """
        own_type = self._render_by_type(schema, indent)
        if _count(schema, "type") > 1:
            own_type = _parenthesize(own_type, indent)

        types = [own_type]
        for key, parts in combinations.items():
            types.append(self._render_part({key: parts}, indent))

        return " & ".join(types)

    # --- types by name ------------------------------------------------------------------------

    def _render_by_type(self, schema: Schema, indent: str) -> str:
        types = schema.get("type")
        if not isinstance(types, list):
            return self._render_type(schema, indent)

        # A description would stand inside of the object, but it is about all of the types.
        rest = {key: value for key, value in schema.items() if key != "description"}
        rendered_types = []
        for name in types:
            if _lacks_details(schema, name):
                rendered_types.append(name)
            else:
                rendered_types.append(self._render_type({**rest, "type": name}, indent))

        return " | ".join(rendered_types)

    def _render_type(self, schema: Schema, indent: str) -> str:
        name = schema.get("type")
        if name is None:
            name = _guess_type(schema)

        if name == "object":
            return self._render_object(schema, indent)
        if name == "array":
            return self._render_array(schema, indent)

        return _SCALARS.get(name, "any") if isinstance(name, str) else "any"

    def _render_array(self, schema: Schema, indent: str) -> str:
        tuple_items = schema.get("prefixItems")
        if isinstance(tuple_items, list):
            types = [self._render_inline(item, indent) for item in tuple_items]
            return f"[{', '.join(types)}]"

        if "items" not in schema:
            return "Array<any>"

        items = schema["items"]
        item_type = self.type_of(items, indent)
        if self._needs_parentheses(items):
            item_type = _parenthesize(item_type, indent)
        return f"{item_type}[]"

    # --- objects ------------------------------------------------------------------------------

    def _render_object(self, schema: Schema, indent: str) -> str:
        properties = schema.get("properties")
        values = schema.get("additionalProperties")
        has_typed_values = isinstance(values, Mapping) and bool(values)
        is_map = has_typed_values and not properties
        if is_map:
            return f"Record<string, {self._render_inline(values, indent)}>"

        lines = []
        description = _description_of(schema)
        if description is not None:
            lines.append(f"{indent}// {fold(description)}")

        lines.append("{")
        if isinstance(properties, Mapping):
            required = _required_names(schema)
            for name, value in properties.items():
                key = _render_key(name, is_required=name in required)
                lines += self._render_property(name, key, value, indent)

        if has_typed_values:
            value_type = self._render_inline(values, indent + "    ")
            lines.append(f"{indent}[key: string]: {value_type},")

        lines.append(f"{indent}}}")
        return "\n".join(lines)

    def _render_property(self, name: str, key: str, schema: object, indent: str) -> list[str]:
        """Render a property of an object as lines, the comments above it included.

        ::

            // The unit of the temperature
            unit?: "celsius" | "fahrenheit", // default: celsius

        Args:
            name: what the property is called.
            key: the same as it is written, with a `?` if the property may be left out.
            schema: what it holds.
            indent: the blanks in front of each line.
        """
        schema = self._inherit_from_definition(schema)
        if not isinstance(schema, Mapping):
            return [f"{indent}{key}: {self.type_of(schema, indent + '    ')},"]

        cases = self._list_cases(schema)
        if cases is not None:
            return self._render_property_with_cases(name, key, schema, cases, indent)

        comments = _title_comments(name, schema)
        description = _description_of(schema)
        if description is not None:
            comments.append(f"// {fold(description)}")
        comments += _example_comments(schema)

        property_type = self.type_of(schema, indent + "    ")
        if "$ref" in schema:
            property_type = _enclose_lines(property_type, indent + "    ")
        property_type = _add_null(schema, property_type)

        lines = [indent + comment for comment in comments]
        default = f" // {_render_default(schema)}" if "default" in schema else ""
        lines.append(f"{indent}{key}: {property_type},{default}")
        return lines

    def _render_property_with_cases(
        self, name: str, key: str, schema: Schema, cases: list[object], indent: str
    ) -> list[str]:
        """Render a property that has a line for each case.

        ::

            // When it begins
            when?:
             | string // default: "today"
             | number // Seconds from now
            ,
        """
        is_one_of = "oneOf" in schema
        description = _description_of(schema)
        # 0.0.8 leaves out a description that the first case of a `oneOf` repeats.
        is_repeated = is_one_of and bool(cases) and description == _description_of(cases[0])
        comment = None if is_repeated else description

        comments = _title_comments(name, schema) + _example_comments(schema)
        if comment is not None:
            comments.append(f"// {fold(comment)}")
        if "default" in schema:
            comments.append(f"// {_render_default(schema)}")

        lines = [indent + comment for comment in comments]
        lines.append(f"{indent}{key}:")
        for number, case in enumerate(cases):
            note = self._find_note(case, is_one_of=is_one_of)
            # 0.0.8 takes the description of a `oneOf` for that of its first case as well.
            is_first_of_one = is_one_of and number == 0 and comment is not None
            if is_first_of_one or note == description:
                note = None

            default = _render_default(case) if _has_default(case) else None
            lines.append(self._render_case(case, indent, note, default))

        lines.append(f"{indent},")
        return lines

    # --- cases --------------------------------------------------------------------------------

    def _list_cases(self, schema: Schema) -> list[object] | None:
        """List what has a line each; None if all of the schema is rendered in one.

        These are the cases of a `oneOf`, or of an `anyOf` that describes one of them.
        """
        if _has_details(schema):
            return None

        one_of = schema.get("oneOf")
        if isinstance(one_of, list):
            return list(one_of)

        any_of = schema.get("anyOf")
        if not isinstance(any_of, list):
            return None

        cases = [self._inherit_from_definition(case) for case in any_of]
        if not any(map(self._needs_line, cases)):
            return None

        if schema.get("nullable") is True:
            cases.append({"type": "null"})
        return cases

    def _needs_line(self, case: object) -> bool:
        """Tell whether a case has a description that has no room inside of it."""
        has_description = isinstance(case, Mapping) and "description" in case
        return has_description and not self._is_object(case)

    def _render_cases(self, cases: Iterable[object], indent: str, *, is_one_of: bool) -> str:
        """Render cases that have a line each.

        ::

             | string // A date default: "today"
             | number // Seconds from now
        """
        lines = []
        for case in cases:
            note = self._find_note(case, is_one_of=is_one_of)
            default = f"default: {literal(case['default'])}" if _has_default(case) else None
            lines.append(self._render_case(case, indent, note, default))

        return "".join(f"\n{line}" for line in lines)

    def _find_note(self, case: object, *, is_one_of: bool) -> str | None:
        """Find the description that stands behind a case.

        That of an object stands inside of it; 0.0.8 repeats that of a `oneOf`.
        """
        is_inside = not is_one_of and self._is_object(case)
        return None if is_inside else _description_of(case)

    def _render_case(self, case: object, indent: str, *notes: str | None) -> str:
        """Render the line of a case, with notes behind it as far as there are any."""
        rendered = self.type_of(case, indent + "   ")
        if isinstance(case, Mapping):
            rendered = _add_null(case, rendered)

        return f"{indent} | {rendered}{_comment(notes)}"

    def _render_union(self, variants: Iterable[object], indent: str) -> str:
        types = [self._render_inline(variant, indent) for variant in variants]
        return " | ".join(dict.fromkeys(types))

    def _render_intersection(self, parts: list[object], indent: str) -> str:
        if len(parts) == 1:
            return self.type_of(parts[0], indent)

        types = [self._render_part(part, indent) for part in parts]
        return " & ".join(types)

    def _render_part(self, schema: object, indent: str) -> str:
        """Render a type that holds together with others."""
        rendered = self.type_of(schema, indent)
        if self._is_union(schema):
            return _parenthesize(rendered, indent)

        return _enclose_lines(rendered, indent)

    def _render_inline(self, schema: object, indent: str) -> str:
        """Render a type that something else can follow on its last line."""
        return _enclose_lines(self.type_of(schema, indent), indent)

    # --- references ---------------------------------------------------------------------------

    def _render_reference(self, schema: Schema, indent: str) -> str:
        """Render the type that a reference points to, with what the schema says beside it."""
        name = schema["$ref"]
        if name in self._open_references:  # a type that contains itself has no end when inlined
            return f"any /* {_name_recursion(name)} */"

        self._inlined_references += 1
        if self._inlined_references > _MAX_REFERENCES:
            raise ToolError(
                f"The schema needs more than {_MAX_REFERENCES} references inlined, {name!r} among "
                "them, which is more than a prompt should hold. Give the tool fewer or flatter "
                "types."
            )

        beside = {key: value for key, value in schema.items() if key != "$ref"}
        self._open_references.append(name)
        rendered = self.type_of({**self._find_definition(name), **beside}, indent)
        self._open_references.pop()
        return rendered

    def _find_definition(self, name: object) -> Schema:
        """Find what a reference points to.

        ::

            #/$defs/Point   ->  schema["$defs"]["Point"]
            #               ->  the whole schema
            #/$defs/a~1b    ->  schema["$defs"]["a/b"]
        """
        if not isinstance(name, str) or not name.startswith("#"):
            raise ToolError(
                f"The reference {name!r} points outside the schema; only #/... can be resolved."
            )

        found = self._root
        for step in name.removeprefix("#").split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            found = found.get(key) if isinstance(found, Mapping) else None

        if not isinstance(found, Mapping):
            raise ToolError(f"The schema refers to {name!r}, which it does not define.")
        return found

    def _inherit_from_definition(self, schema: object) -> object:
        """Add to a reference what stands in the comment of a property, unless it has its own."""
        if not _is_reference(schema):
            return schema

        name = schema["$ref"]
        if name in self._open_references:
            return schema

        definition = self._find_definition(name)
        inherited = {key: definition[key] for key in definition if key in _INHERITED}
        return {**inherited, **schema}

    def _follow_references(self, schema: object) -> object:
        """Find the schema behind a reference, to see what kind of type it is."""
        for _ in range(_MAX_HOPS):
            if not _is_reference(schema):
                break
            schema = self._find_definition(schema["$ref"])

        return schema

    def _is_object(self, schema: object) -> bool:
        """Tell whether a schema is rendered as an object, which has its description inside."""
        target = self._follow_references(schema)
        if not isinstance(target, Mapping):
            return False

        return target.get("type") == "object" or "properties" in target

    def _is_union(self, schema: object) -> bool:
        target = self._unwrap(schema)
        if not isinstance(target, Mapping):
            return False

        keys = ["type"] if _has_details(target) else ["oneOf", "enum", "anyOf", "type"]
        return any(_count(target, key) > 1 for key in keys)

    def _unwrap(self, schema: object) -> object:
        """Find the schema behind references, and behind an `anyOf` or `allOf` of one type."""
        for _ in range(_MAX_HOPS):
            if _is_reference(schema):
                schema = self._find_definition(schema["$ref"])
                continue

            parts = _wrapped_parts(schema)
            if len(parts) != 1:
                break
            schema = parts[0]

        return schema

    def _needs_parentheses(self, items: object) -> bool:
        """Tell whether a type is parenthesized in front of the brackets of an array.

        0.0.8 does not do so with string enums, lists of types and a `oneOf`, and is followed there.
        It does not know the others.
        """
        direct = self._follow_references(items)
        target = self._unwrap(direct)
        if not isinstance(target, Mapping):
            return False
        if target is not direct and self._is_union(target):
            return True

        combinations = _list_combinations(target)
        if _has_details(target):
            return bool(combinations)
        if "enum" in target:
            return target.get("type") != "string" and _count(target, "enum") > 1

        return any(len(combinations.get(key, ())) > 1 for key in ("anyOf", "allOf"))


# --- reading a schema -------------------------------------------------------------------------


def _description_of(schema: object) -> str | None:
    if not isinstance(schema, Mapping):
        return None

    description = schema.get("description")
    return description if isinstance(description, str) else None


def _is_reference(schema: object) -> TypeGuard[Schema]:
    return isinstance(schema, Mapping) and "$ref" in schema


def _has_default(schema: object) -> TypeGuard[Schema]:
    return isinstance(schema, Mapping) and "default" in schema


def _required_names(schema: Schema) -> set[str]:
    required = schema.get("required")
    if not isinstance(required, list):
        return set()

    return {name for name in required if isinstance(name, str)}


def _guess_type(schema: Schema) -> str | None:
    """Tell the type of a schema that does not name it."""
    if "properties" in schema:
        return "object"
    if "items" in schema or "prefixItems" in schema:
        return "array"

    return None


def _has_details(schema: Schema) -> bool:
    """Tell whether a schema says what stands in its objects or arrays.

    ::

        {"properties": {"a": {}}}, {"items": {}}            ->  yes
        {"type": "object", "additionalProperties": False}   ->  no
    """
    keys = ("properties", "additionalProperties", "items", "prefixItems")
    return any(isinstance(schema.get(key), (Mapping, list)) and schema[key] for key in keys)


def _list_combinations(schema: Schema) -> dict[str, list[object]]:
    """List what combines types in a schema, as far as it says more than the schema's own type.

    ::

        {"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}   ->  nothing
        {"allOf": [{"$ref": "#/$defs/A"}, {"minimum": 1}]}   ->  {"allOf": [{"$ref": "#/$defs/A"}]}
    """
    own_type = schema.get("type") or _guess_type(schema)
    combinations = {}
    for key in _COMBINATIONS:
        parts = schema.get(key)
        if not isinstance(parts, list):
            continue

        telling = [part for part in parts if _says_more(part, own_type)]
        if telling:
            # Each of several alternatives counts, also one that allows anything.
            combinations[key] = telling if key == "allOf" else parts

    return combinations


def _says_more(part: object, own_type: object) -> bool:
    """Tell whether a part of a combination has another type than what it is a part of."""
    if not isinstance(part, Mapping):
        return part is not True
    if _has_details(part):
        return True
    if not _TYPE_KEYS.isdisjoint(part):
        return True

    return part.get("type") not in (None, own_type)


def _wrapped_parts(schema: object) -> list[object]:
    """List the types of a schema that is nothing but an `anyOf` or `allOf`."""
    if not isinstance(schema, Mapping) or _has_details(schema):
        return []
    if not {"oneOf", "const", "enum"}.isdisjoint(schema):
        return []

    combinations = _list_combinations(schema)
    return combinations.get("anyOf") or combinations.get("allOf") or []


def _lacks_details(schema: Schema, name: object) -> TypeGuard[str]:
    """Tell whether a type in a list is an object or array of which the schema says nothing else.

    0.0.8 writes its bare name then.
    """
    if not isinstance(name, str) or name not in _DETAILS:
        return False

    return not any(key in schema for key in _DETAILS[name])


def _is_nonempty_list(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list) and bool(value)


def _count(schema: Schema, key: str) -> int:
    """Count the entries of a list in a schema; 0 if it is not a list."""
    value = schema.get(key)
    return len(value) if isinstance(value, list) else 0


# --- writing a type ---------------------------------------------------------------------------


def _render_key(name: object, *, is_required: bool) -> str:
    if not isinstance(name, str):
        raise ToolError(f"The name of a property must be a string, not {name!r}.")

    key = name if _PLAIN_KEY.fullmatch(name) else literal(name)
    return key if is_required else f"{key}?"


def _render_default(schema: Schema) -> str:
    """Render a default; 0.0.8 writes that of an enum without quotation marks."""
    value = schema["default"]
    if not isinstance(value, str):
        return f"default: {literal(value)}"

    is_enum = bool(schema.get("enum"))
    return f"default: {fold(value) if is_enum else literal(value)}"


def _comment(notes: Iterable[str | None]) -> str:
    """Write notes as a comment behind a type, as far as there are any."""
    texts = [fold(note) for note in notes if note is not None]
    return f" // {' '.join(texts)}" if texts else ""


def _title_comments(name: str, schema: Schema) -> list[str]:
    title = schema.get("title")
    if not isinstance(title, str):
        return []
    # A title that pydantic made from the name says nothing new.
    if title.lower() == name.replace("_", " ").lower():
        return []

    return [f"// {fold(title)}", "//"]


def _example_comments(schema: Schema) -> list[str]:
    examples = schema.get("examples")
    if not _is_nonempty_list(examples):
        return []

    # 0.0.8 shows strings alone, and the heading even without one.
    comments = ["// Examples:"]
    for example in examples:
        if isinstance(example, str):
            comments.append(f"// - {literal(example)}")
    return comments


def _add_null(schema: Schema, rendered: str) -> str:
    """Add null to the type of a schema that is nullable.

    0.0.8 takes any `null` in the rendered type, also one in a word or a comment, for the null that
    is to be added, and is followed here.
    """
    if schema.get("nullable") is not True:
        return rendered

    return rendered if "null" in rendered else f"{rendered} | null"


def _parenthesize(rendered: str, indent: str) -> str:
    """Put a type into parentheses, the closing one outside of a comment that may end the type."""
    if rendered.startswith("\n"):
        return _enclose_lines(rendered, indent)

    return f"({rendered})"


def _enclose_lines(rendered: str, indent: str) -> str:
    """Put a type into parentheses if it has a line for each case."""
    if not rendered.startswith("\n"):
        return rendered

    return f"({rendered}\n{indent})"


def _name_recursion(reference: object) -> str:
    """Name a type in a comment that stands where the type contains itself."""
    name = str(reference).rpartition("/")[2]
    return f"{name} again" if _WORD.fullmatch(name) else "the same again"
