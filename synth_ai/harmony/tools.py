"""Tool specifications: read in either of OpenAI's shapes, and written as Harmony declares them.

Function tools come flat, as in the Responses API, or nested under `function`, as in Chat Completions. The built-in
`python` and `browser` are given by name, as `"python"` or `{"type": "python"}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from synth_ai.errors import ToolError
from synth_ai.harmony.typescript import to_typescript

Tool = Mapping[str, Any] | str

BUILT_INS = ("browser", "python")
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Function:
    """A function the model may call; `parameters` is a JSON schema, or None if it takes no argument."""

    name: str
    description: str
    parameters: Any


def read_tools(tools: Iterable[Tool]) -> tuple[tuple[str, ...], tuple[Function, ...]]:
    """The built-in tools, in the order Harmony lists them, and the functions among `tools`.

    Raises:
        ToolError: a tool is of an unknown type, has a name that cannot be used, or is given twice.
    """
    built_ins: list[str] = []
    functions: dict[str, Function] = {}
    for tool in tools:
        kind = tool if isinstance(tool, str) else tool.get("type")
        if kind in BUILT_INS:
            built_ins.append(str(kind))
            continue
        function = _read_function(tool)
        if function.name in functions:
            raise ToolError(
                f"Two tools are named {function.name!r}; every tool needs a name of its own."
            )
        functions[function.name] = function
    return tuple(name for name in BUILT_INS if name in built_ins), tuple(functions.values())


def _read_function(tool: Tool) -> Function:
    if isinstance(tool, str) or tool.get("type", "function") != "function":
        shown = tool if isinstance(tool, str) else tool.get("type")
        raise ToolError(
            f"The tool {shown!r} cannot be declared to gpt-oss: give functions as specifications, "
            'and the built-in tools as "python" or "browser".'
        )
    spec = tool.get("function", tool)
    name = spec.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ToolError(
            f"The tool name {name!r} must be 1 to 64 letters, digits, underscores or hyphens."
        )
    description = spec.get("description") or ""
    if not isinstance(description, str):
        raise ToolError(f"The description of the tool {name!r} must be text, not {description!r}.")
    return Function(name, description, spec.get("parameters"))


def declare_functions(functions: Iterable[Function]) -> str:
    """The `# Tools` section of a developer message."""
    lines = ["# Tools\n\n## functions\n", "namespace functions {\n"]
    for function in functions:
        # Line by line, as a comment each: a description cannot leave the comment.
        lines += [f"// {line}" for line in function.description.splitlines()]
        argument = "" if function.parameters is None else f"_: {to_typescript(function.parameters)}"
        lines.append(f"type {function.name} = ({argument}) => any;\n")
    return "\n".join([*lines, "} // namespace functions"])


def declare_built_ins(names: Iterable[str]) -> str:
    """The `# Tools` section of a system message."""
    return "\n\n".join(["# Tools", *(_DECLARATIONS[name] for name in names)])


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

// Opens the link `id` from the page indicated by `cursor` starting at line number `loc`, showing `num_lines` lines.
// Valid link ids are displayed with the formatting: `【{id}†.*】`.
// If `cursor` is not provided, the most recent page is implied.
// If `id` is a string, it is treated as a fully qualified URL associated with `source`.
// If `loc` is not provided, the viewport will be positioned at the beginning of the document or centered on the most \
relevant passage, if available.
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

Use this tool to execute Python code in your chain of thought. The code will not be shown to the user. This tool \
should be used for internal reasoning, but not for code that is intended to be visible to the user (e.g. when creating \
plots, tables, or files).

When you send a message containing Python code to python, it will be executed in a stateful Jupyter notebook \
environment. python will respond with the output of the execution or time out after 120.0 seconds. The drive at \
'/mnt/data' can be used to save and persist user files. Internet access for this session is UNKNOWN. Depends on the \
cluster.""",
}
