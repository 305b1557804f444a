"""Tool specifications: read in either of OpenAI's shapes, and declared as Harmony declares them.

Function tools come flat, as in the Responses API, or nested under `function`, as in Chat
Completions. The built-in `python` and `browser` are given by name, as `"python"` or
`{"type": "python"}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeGuard

from synth_ai.errors import ToolError
from synth_ai.harmony.typescript import to_typescript

Tool: TypeAlias = Mapping[str, object] | str
"""A specification, or the name of a tool."""

BUILT_INS = ("browser", "python")
"""The tools that gpt-oss was trained with, in the order in which Harmony declares them."""

ROLES = frozenset({"user", "assistant", "system", "developer", "tool"})
"""Who can speak in the place of a tool, so that no tool may be called so."""

NAME_PATTERN = r"[A-Za-z0-9_-]{1,64}"
"""The names that OpenAI allows for functions and schemas."""

_NAME = re.compile(NAME_PATTERN)


def is_name(value: object) -> TypeGuard[str]:
    """Tell whether a function or a schema can be called so."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


@dataclass(frozen=True, slots=True)
class Function:
    """A function the model may call.

    Attributes:
        name: what it is called, without a namespace.
        description: what it does; lines in it are kept.
        parameters: a JSON schema that has not been checked yet; None if it takes no argument.
    """

    name: str
    description: str
    parameters: object


def read_tools(tools: Iterable[Tool]) -> tuple[tuple[str, ...], tuple[Function, ...]]:
    """Read tools.

    Returns:
        The names of the built-in tools among them, in the order of their declaration, and the
        functions.

    Raises:
        ToolError: a tool is of an unknown type, has a name that cannot be used, or is given twice.
    """
    built_ins: set[str] = set()
    functions: dict[str, Function] = {}
    for tool in tools:
        tool_type = _type_of(tool)
        if tool_type in BUILT_INS:
            built_ins.add(str(tool_type))
            continue

        function = _read_function(tool)
        if function.name in functions:
            raise ToolError(
                f"Two tools are named {function.name!r}; every tool must have a different name."
            )
        functions[function.name] = function

    names = tuple(name for name in BUILT_INS if name in built_ins)
    return names, tuple(functions.values())


def _type_of(tool: Tool) -> object:
    if isinstance(tool, str):
        return tool
    if isinstance(tool, Mapping):
        return tool.get("type", "function")

    raise ToolError(f"A tool must be a specification or the name of a built-in tool, not {tool!r}.")


def _read_function(tool: Tool) -> Function:
    if isinstance(tool, str) or _type_of(tool) != "function":
        raise ToolError(
            f"The tool {_type_of(tool)!r} cannot be declared to gpt-oss: give functions as "
            'specifications, and the built-in tools as "python" or "browser".'
        )

    spec = tool.get("function", tool)
    if not isinstance(spec, Mapping):
        raise ToolError(f"The specification of a function must be a dict, not {spec!r}.")

    name = spec.get("name")
    if not is_name(name):
        raise ToolError(
            f"The tool name {name!r} must be 1 to 64 letters, digits, underscores or hyphens."
        )

    description = spec.get("description") or ""
    if not isinstance(description, str):
        raise ToolError(f"The description of the tool {name!r} must be text, not {description!r}.")

    return Function(name, description, spec.get("parameters"))


def declare_functions(functions: Iterable[Function]) -> str:
    """Write the `# Tools` section of a developer message."""
    lines = ["# Tools\n\n## functions\n", "namespace functions {\n"]
    for function in functions:
        # Line by line, as a comment each: a description cannot leave the comment.
        for line in function.description.splitlines():
            lines.append(f"// {line}")

        argument = ""
        if function.parameters is not None:
            argument = f"_: {to_typescript(function.parameters)}"
        lines.append(f"type {function.name} = ({argument}) => any;\n")

    lines.append("} // namespace functions")
    return "\n".join(lines)


def declare_built_ins(names: Iterable[str]) -> str:
    """Write the `# Tools` section of a system message."""
    declarations = [_DECLARATIONS[name] for name in names]
    return "\n\n".join(["# Tools", *declarations])


# As openai-harmony 0.0.8 has them, to the letter. A backslash joins a line with the next one.
_DECLARATIONS = {
    "browser": """## browser

// Tool for browsing.
// The `cursor` appears in brackets before each browsing display: `[{cursor}]`.
// Cite information from the tool using the following format:
// `【{cursor}†L{line_start}(-L{line_end})?】`, for example: `【6†L9-L11】` or `【8†L3】`.
// Do not quote more than 10 words directly from the tool output.
// sources=web (default: web)
namespace browser {

// Searches for information related to `query` and displays `topn` results.
type search = (_: {
query: string,
topn?: number, // default: 10
source?: string,
}) => any;

// Opens the link `id` from the page indicated by `cursor` starting at line number `loc`, \
showing `num_lines` lines.
// Valid link ids are displayed with the formatting: `【{id}†.*】`.
// If `cursor` is not provided, the most recent page is implied.
// If `id` is a string, it is treated as a fully qualified URL associated with `source`.
// If `loc` is not provided, the viewport will be positioned at the beginning of the document or \
centered on the most relevant passage, if available.
// Use this function without `id` to scroll to a new location of an opened page.
type open = (_: {
id?: number | string, // default: -1
cursor?: number, // default: -1
loc?: number, // default: -1
num_lines?: number, // default: -1
view_source?: boolean, // default: false
source?: string,
}) => any;

// Finds exact matches of `pattern` in the current page, or the page given by `cursor`.
type find = (_: {
pattern: string,
cursor?: number, // default: -1
}) => any;

} // namespace browser""",
    "python": """## python

Use this tool to execute Python code in your chain of thought. The code will not be shown to the \
user. This tool should be used for internal reasoning, but not for code that is intended to be \
visible to the user (e.g. when creating plots, tables, or files).

When you send a message containing Python code to python, it will be executed in a stateful \
Jupyter notebook environment. python will respond with the output of the execution or time out \
after 120.0 seconds. The drive at '/mnt/data' can be used to save and persist user files. \
Internet access for this session is UNKNOWN. Depends on the cluster.""",
}
