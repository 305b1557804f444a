"""The tools a request offered, as the parser needs them: which names count, and how a garbled one is put right."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from synth_ai.harmony.tools import BUILT_INS, Tool

_FUNCTIONS = re.compile(r"(?:functions?[./:]+)+", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}(?:\.[A-Za-z0-9_-]{1,64})*", re.ASCII)
# What a model has been seen to glue behind a name.
_JUNK = re.compile(r"[\W_]*(?:(?:json|code|commentary|analysis|final|assistant)[\W_]*)+", re.IGNORECASE)
_GLUED = re.compile(r"(.*?[A-Za-z0-9])(?:commentary)+\Z")
_ROLES = {"user", "assistant", "system", "developer", "tool", "all"}
_NO_TOOL = _ROLES | {"analysis", "commentary", "final", "functions", "function", "json", "code"}


@dataclass(frozen=True, slots=True)
class Offered:
    """The tools of a request.

    Attributes:
        functions: the names that are known; empty when none were given.
        built_ins: `python` and `browser`, where offered.
        any_function: `functions` stood for functions whose names are not given.
    """

    functions: frozenset[str] = frozenset()
    built_ins: frozenset[str] = frozenset()
    any_function: bool = False

    @classmethod
    def of(cls, tools: Iterable[Tool]) -> Offered:
        """Read tool specifications, or bare names such as `get_weather`, `functions.get_weather` and `python`."""
        names = [tool if isinstance(tool, str) else _spec_name(tool) for tool in tools]
        functions = {name.removeprefix("functions.") for name in names} - {"functions", *BUILT_INS}
        return cls(frozenset(functions), frozenset(names) & frozenset(BUILT_INS), "functions" in names)

    def includes(self, name: str) -> bool:
        """Whether a call of `name` was to be expected."""
        if not (self.functions or self.built_ins or self.any_function):
            return True
        root = name.split(".")[0]
        if root in BUILT_INS and name not in self.functions:
            return root in self.built_ins
        return self.any_function or name in self.functions

    def only(self) -> str | None:
        """The name of the tool, where a single one was offered by name."""
        if len(self.functions) == 1 and not (self.any_function or self.built_ins):
            return next(iter(self.functions))
        return None

    def resolve(self, recipient: str) -> str | None:
        """The tool that `recipient` means, without `functions.`; None if it is no tool."""
        prefix = _FUNCTIONS.match(recipient)
        found = _NAME.match(recipient[prefix.end() :] if prefix else recipient)
        if found is None:
            return None
        name = found[0]
        if name in self.functions:
            return name
        if not prefix and (name.lower() in _NO_TOOL or name[0].isdigit() or name[0] == "-"):
            return None
        if "." in name and name.split(".")[0] in _NO_TOOL:
            return None
        for known in sorted((*self.functions, *self.built_ins), key=len, reverse=True):
            if name.startswith(known) and _JUNK.fullmatch(name, len(known)):
                return known
        if name.rpartition(".")[2] in self.functions:
            return name.rpartition(".")[2]
        glued = _GLUED.match(name)
        return glued[1] if glued else name


def _spec_name(tool: Tool) -> str:
    assert not isinstance(tool, str)
    function = tool.get("function")
    named = function if isinstance(function, dict) else tool
    return str(named.get("name") or tool.get("type") or "")
