"""The tools a request offered, as the parser needs them: which names count, and how a garbled one is put right."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from synth_ai.harmony.tools import BUILT_INS, Tool

_FUNCTIONS = re.compile(r"(?:functions?[./:]+)+", re.IGNORECASE)
# All of a name or nothing: what a longer one begins with may be another tool.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}+(?:\.[A-Za-z0-9_-]{1,64}+){0,8}+(?!\.?[A-Za-z0-9_-])")
# What stands behind a name when the control token in between got lost.
_CHANNELS = tuple(
    f"{channel}{kind}" for channel in ("commentary", "analysis") for kind in ("", "json", "code")
)
_TYPES = ("json",)
_DOTTED = tuple(f".{word}" for word in _CHANNELS + _TYPES)
ROLES = {"user", "assistant", "system", "developer", "tool", "all"}
NO_TOOL = ROLES | {"analysis", "commentary", "final", "functions", "function", "json", "code"}


@dataclass(frozen=True, slots=True)
class Called:
    """A tool that is called; `code` says that its argument is code, as the built-in `python`'s is, and not JSON."""

    name: str
    code: bool = False


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
        """Read tool specifications, or names: `get_weather` or `functions.get_weather`, and `python` for the built-in.

        A function that is called `python` or `browser` itself is named with `functions.` in front.
        """
        names = {tool if isinstance(tool, str) else _spec_name(tool) for tool in tools}
        own = names & {"functions", *BUILT_INS}
        functions = {name.removeprefix("functions.") for name in names - own}
        return cls(frozenset(functions), frozenset(own - {"functions"}), "functions" in own)

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

    def resolve(self, recipient: str, *, channel: bool = True, typed: bool = True) -> Called | None:
        """The tool that `recipient` means; None if it is no tool.

        A call must not reach another tool than the model named, so a name is put right only where it cannot be one:
        a channel glued to it goes if the header has none otherwise, and so does a content type.

        Args:
            channel: whether the header names a channel beside the recipient.
            typed: whether it names a content type.
        """
        prefix = _FUNCTIONS.match(recipient)
        found = _NAME.match(recipient[prefix.end() :] if prefix else recipient)
        if found is None:
            return None
        name = found[0]
        if name in self.functions:
            return Called(name, self._takes_code(name, prefix is not None))
        if not prefix and (name.lower() in NO_TOOL or name[0].isdigit() or name[0] == "-"):
            return None
        if "." in name and name.split(".")[0] in NO_TOOL:
            return None
        glued = (() if channel else _CHANNELS) + (() if typed else _TYPES)
        if prefix and name.split(".")[0] not in BUILT_INS:  # no function has a dot in its name
            glued += _DOTTED
        name = self._freed(name, glued, known=channel or bool(self.functions))
        return Called(name, self._takes_code(name, prefix is not None))

    def _freed(self, name: str, glued: tuple[str, ...], *, known: bool) -> str:
        """`name` without the words glued to it; `known` says that what is left must be a tool that is offered."""
        rest = name
        while word := next((word for word in glued if rest.endswith(word)), None):
            front = rest.removesuffix(word)
            if not front[-1:].isalnum():
                break
            rest = front
            if rest in self.functions or (
                rest != "browser" and rest.split(".")[0] in self.built_ins
            ):
                return rest
        return name if known else rest

    def _takes_code(self, name: str, prefixed: bool) -> bool:
        """Whether the argument is code: `python` is the built-in tool, `functions.python` a function of that name."""
        if name != "python":
            return False
        if name in self.functions:
            return name in self.built_ins and not prefixed
        return name in self.built_ins or not prefixed


def _spec_name(tool: Mapping[str, Any]) -> str:
    kind = tool.get("type")
    if kind in BUILT_INS:
        return str(kind)
    named = tool.get("function", tool)
    name = named.get("name") if isinstance(named, Mapping) else None
    return f"functions.{name}" if name else str(kind or "")
