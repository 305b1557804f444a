"""The tools that a model may call, and which of its calls can be answered here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from synth_ai.content import FunctionToolCall
from synth_ai.errors import ToolError
from synth_ai.lm.tools import RunnableSpec, ToolLike, ToolSpec, tool_specs
from synth_ai.response import BaseLMResponse

# Two tools that gpt-oss was trained on. A tool of the user's that has such a name is called as the
# model has learnt it: `python` with code instead of JSON, `browser` as `browser.search` and so on.
_CODE_TOOL = "python"
_NAMESPACE_TOOL = "browser"


@dataclass(frozen=True, slots=True)
class ReadyCall:
    """A call that fits its tool.

    Attributes:
        spec: the tool's spec.
        text: the arguments as they were written.
        arguments: the arguments by name, or a text such as code.
        work: calls the tool with them.
    """

    spec: RunnableSpec
    text: str
    arguments: Any
    work: Callable[[], object]


class ToolExecutor:
    """The tools that a model may call, and how to run those whose functions are here.

    Args:
        tools: the tools; None if it is not known which the model has.
        fallback: lends its functions to the tools that are schemas here, by name. A branch that was
            read back from a file has schemas alone, and the LM may have the functions.

    Attributes:
        specs: the specs of the tools; None if it is not known which the model has.
    """

    def __init__(
        self, tools: Iterable[ToolLike] | None, fallback: ToolExecutor | None = None
    ) -> None:
        self.specs: tuple[ToolSpec, ...] | None = None
        self._names: frozenset[str] | None = None
        self._built_ins: set[str] = set()
        self._runnable: dict[str, RunnableSpec] = {}
        if fallback is not None:
            self._runnable |= fallback._runnable

        if tools is None:
            return

        self.specs = tool_specs(tools)
        self._names = _function_names(self.specs)
        self._built_ins = {spec["type"] for spec in self.specs if "name" not in spec}

        for name in self._runnable.keys() - self._names:
            del self._runnable[name]
        for spec in self.specs:
            if isinstance(spec, RunnableSpec):
                self._runnable[spec["name"]] = spec

    def can_run(self, response: BaseLMResponse) -> bool:
        """Whether any call of a response is answered here."""
        return bool(self.calls_to_answer(response))

    def calls_to_answer(self, response: BaseLMResponse) -> list[FunctionToolCall]:
        """List the calls of a response that are answered here.

        A call of a tool that does not exist is answered with the names of those that do. One of a
        tool that is only a schema is left to the caller.
        """
        calls = []
        for call in response.tool_calls or ():
            if call["type"] != "function":
                continue
            if self._has_answer(call["function"]["name"]):
                calls.append(call)
        return calls

    def read_call(self, name: str, text: str) -> ReadyCall:
        """Find the tool of a call, and check the arguments.

        Args:
            name: the tool's name, as the model called it.
            text: the arguments, as the model wrote them.

        Raises:
            ToolError: there is no such tool.
            ValueError: the arguments are not JSON, or do not fit the tool.
        """
        spec = self._find(name)
        if spec is None:
            raise self._unknown_tool(name)

        arguments = _read_arguments(name, text)
        try:
            return ReadyCall(spec, text, arguments, spec.bind(arguments))
        except ValueError:
            # Code may look like JSON: {"a": 1} is an expression, too.
            if name == _CODE_TOOL and _CODE_TOOL in self._built_ins:
                return ReadyCall(spec, text, text, spec.bind(text))
            raise

    def _find(self, name: str) -> RunnableSpec | None:
        """Find the tool that a call names, if it can be run here."""
        spec = self._runnable.get(name)
        if spec is not None:
            return spec

        namespace, _, _ = name.partition(".")
        return self._runnable.get(namespace) if namespace == _NAMESPACE_TOOL else None

    def _has_answer(self, name: str) -> bool:
        if self._find(name) is not None:
            return True
        if self._names is None:
            return False
        # A schema: its calls are left to the caller.
        if name in self._names:
            return False

        # Calls of a built-in tool have names that nobody declares: `browser` is called as
        # `browser.search`. Any other name is an invention of the model, and is answered so.
        namespace, _, _ = name.partition(".")
        return namespace not in self._built_ins

    def _unknown_tool(self, name: str) -> ToolError:
        names = self._names or ()
        nearest_first = get_close_matches(name, names, n=len(names) or 1, cutoff=0)
        return ToolError(
            f"There is no tool {name!r}. The tools are: {', '.join(nearest_first) or 'none'}."
        )


def _read_arguments(name: str, text: str) -> object:
    """Read the arguments of a call.

    ::

        get_weather, {"city": "Oslo"}  ->  {"city": "Oslo"}
        get_weather, nothing           ->  {}
        python, {"code": "1 + 1"}      ->  {"code": "1 + 1"}
        python, 1 + 1                  ->  "1 + 1"

    Raises:
        ValueError: the text is not JSON, and the tool takes no code.
    """
    try:
        arguments: object = json.loads(text or "{}", strict=False)
    except ValueError:
        if name == _CODE_TOOL:
            return text
        raise

    # A number or a list is code, too.
    if name == _CODE_TOOL and not isinstance(arguments, dict):
        return text
    return arguments


def _function_names(specs: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """List the names that calls may have; a namespace has more of them in `tools`."""
    names: set[str] = set()
    for spec in specs:
        if "name" in spec:
            names.add(spec["name"])

        nested = spec.get("tools") or ()
        names |= _function_names(tool for tool in nested if isinstance(tool, Mapping))
    return frozenset(names)
