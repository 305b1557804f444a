"""The tools of a request as the parser needs them: their names, and what a garbled name means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product

from synth_ai.harmony.channels import CALL_CHANNELS, CHANNELS
from synth_ai.harmony.tools import BUILT_INS, ROLES, Tool

#: Whom a message can be addressed to that is not a tool.
ADDRESSEES = ROLES | {"all"}

#: The tool that gpt-oss was trained to call with code instead of JSON.
CODE_TOOL = "python"

#: Words of a header that are not the name of a tool, unless a function is called so.
NOT_TOOLS = ADDRESSEES | CHANNELS.keys() | {"functions", "function", "json", "code"}

# The namespace of functions, however often it stands in front of a name:
#   functions.get_weather   -> functions.
#   Function/get_weather    -> Function/
#   functions.functions.f   -> functions.functions.
_NAMESPACE = re.compile(r"(?:functions?[./:]+)+", re.IGNORECASE)

# A name, with a dot between namespaces:
#   get-weather_2           -> get-weather_2
#   browser.search?         -> browser.search
#   65 letters              -> nothing, as for more than nine parts
# All of it or nothing: what a longer name begins with may be another tool. The possessive `+` is
# what keeps the look-ahead from being met by a shorter name.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}+(?:\.[A-Za-z0-9_-]{1,64}+){0,8}+(?!\.?[A-Za-z0-9_-])")

# The words that stand behind a name once the control tokens in between got lost:
#   to=functions.get_weather<|channel|>commentary <|constrain|>json
#   to=functions.get_weathercommentaryjson
_GLUED_CHANNELS = tuple(map("".join, product(CALL_CHANNELS, ("", "json", "code"))))
_GLUED_TYPES = ("json",)
_GLUED_BY_DOT = tuple(f".{word}" for word in _GLUED_CHANNELS + _GLUED_TYPES)


@dataclass(frozen=True, slots=True)
class ResolvedTool:
    """The tool that a recipient means.

    Attributes:
        name: its name, without the namespace of functions.
        code: whether its argument is code, as the built-in `python`'s is, and not JSON.
    """

    name: str
    code: bool = False


@dataclass(frozen=True, slots=True)
class OfferedTools:
    """The tools of a request.

    Attributes:
        functions: the names of its functions; empty if none were given.
        built_ins: `python` and `browser`, if they are offered.
        any_function: whether there are functions whose names are not given.
    """

    functions: frozenset[str] = frozenset()
    built_ins: frozenset[str] = frozenset()
    any_function: bool = False

    @classmethod
    def from_tools(cls, tools: Iterable[Tool]) -> OfferedTools:
        """Read tool specifications or names.

        A name is `get_weather` or `functions.get_weather`, `python` or `browser` for the built-in
        tools, and `functions` for functions of any name. A function that is called `python` or
        `browser` itself is named with `functions.` in front.
        """
        names = {_read_name(tool) for tool in tools}
        if not names:
            return cls()

        reserved = names & {"functions", *BUILT_INS}
        functions = {name.removeprefix("functions.") for name in names - reserved}

        return cls(
            functions=frozenset(functions),
            built_ins=frozenset(reserved - {"functions"}),
            any_function="functions" in reserved,
        )

    def includes(self, name: str) -> bool:
        """Tell whether a call of `name` was to be expected. Without any tools, each one is."""
        is_empty = not (self.functions or self.built_ins or self.any_function)
        if is_empty or name in self.functions:
            return True

        namespace = _namespace_of(name)
        if namespace in BUILT_INS:
            # A function of that name is called as the built-in one is.
            return namespace in self.built_ins or namespace in self.functions

        return self.any_function

    def single_name(self) -> str | None:
        """Return the name of the only tool; None if there may be others."""
        may_be_others = self.any_function or bool(self.built_ins)
        if may_be_others or len(self.functions) != 1:
            return None

        return next(iter(self.functions))

    def resolve(
        self, recipient: str, *, has_channel: bool = True, has_type: bool = True
    ) -> ResolvedTool | None:
        """Find the tool that `recipient` means; None if it cannot be a tool.

        A call must not reach another tool than the model named. So words are stripped from a name
        only if the header lacks them elsewhere, or if no name can hold them.

        Args:
            recipient: the name in the header, with whatever stands around it.
            has_channel: whether the header names a channel beside the recipient.
            has_type: whether the header names a content type beside it.
        """
        prefix = _NAMESPACE.match(recipient)
        is_function = prefix is not None
        match = _NAME.match(recipient[prefix.end() :] if prefix else recipient)
        if match is None:
            return None

        # A name that is offered is taken as it is, before anything in it can look like garbage.
        name = match[0]
        if name in self.functions:
            return ResolvedTool(name, self._takes_code(name, is_function))
        if not _can_be_tool(name, is_function):
            return None

        suffixes: tuple[str, ...] = ()
        if not has_channel:
            suffixes += _GLUED_CHANNELS
        if not has_type:
            suffixes += _GLUED_TYPES
        # No function has a dot in its name. `functions.python.x` may be of the built-in tool.
        if is_function and _namespace_of(name) not in BUILT_INS:
            suffixes += _GLUED_BY_DOT

        must_be_offered = has_channel or bool(self.functions)
        name = self._strip_glued_suffix(name, suffixes, must_be_offered)
        return ResolvedTool(name, self._takes_code(name, is_function))

    def _strip_glued_suffix(
        self, name: str, suffixes: tuple[str, ...], must_be_offered: bool
    ) -> str:
        """Strip words from the end of `name`, until a tool that is offered is left.

        Args:
            name: a name that is not offered.
            suffixes: the words to strip.
            must_be_offered: whether `name` stays as it is if no offered tool comes out. Otherwise
                all words are stripped.
        """
        stripped = name
        while True:
            suffix = _find_suffix(stripped, suffixes)
            if suffix is None:
                break

            shorter = stripped.removesuffix(suffix)
            # get_json is a name, getjson may be a name with a word glued to it.
            if not shorter[-1:].isalnum():
                break

            stripped = shorter
            if self._is_offered(stripped):
                return stripped

        return name if must_be_offered else stripped

    def _is_offered(self, name: str) -> bool:
        if name in self.functions:
            return True
        if name == "browser":  # only browser.search and the like can be called
            return False

        return _namespace_of(name) in self.built_ins

    def _takes_code(self, name: str, is_function: bool) -> bool:
        """Tell whether the argument is code.

        `python` is the built-in tool, and `functions.python` a function of that name, unless only
        one of the two is offered.
        """
        if name != CODE_TOOL:
            return False
        if name in self.functions:
            return name in self.built_ins and not is_function

        return name in self.built_ins or not is_function


def _read_name(tool: Tool) -> str:
    """Read a name, or the name in a specification of either API."""
    if isinstance(tool, str):
        return tool

    tool_type = tool.get("type")
    if tool_type in BUILT_INS:
        return str(tool_type)

    spec = tool.get("function", tool)
    name = spec.get("name") if isinstance(spec, Mapping) else None
    if name:
        return f"functions.{name}"

    return str(tool_type or "")


def _can_be_tool(name: str, is_function: bool) -> bool:
    """Tell whether a tool can have a name.

    ::

        functions.user   ->  yes, a function may be called so
        user, json, 2f   ->  no
        functions.user.f, user.f   ->  no: the user is not a namespace
    """
    if "." in name and _namespace_of(name) in NOT_TOOLS:
        return False
    if is_function:
        return True

    return name.lower() not in NOT_TOOLS and name[0] not in "-0123456789"


def _namespace_of(name: str) -> str:
    """Return what stands before the first dot; of a name without one, all of it."""
    return name.split(".")[0]


def _find_suffix(name: str, suffixes: tuple[str, ...]) -> str | None:
    for suffix in suffixes:
        if name.endswith(suffix):
            return suffix

    return None
