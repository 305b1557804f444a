"""Credentials inside tools: kept in this process, for the server that they were given for.

A tool that a server runs may carry the key of another service::

    {"type": "mcp", "server_label": "crm", "server_url": "...", "authorization": "hush"}
    ->  {"type": "mcp", "server_label": "crm", "server_url": "...",
         "authorization": "[kept in memory: 8d3c...]"}

Turns, and so files, exports and trees, have the second form. Who continues a branch in this
process, on the same server, gets the first one back. For anybody else the tool cannot work.
"""

from __future__ import annotations

import hmac
import operator
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from synth_ai.store.json import to_json

ToolSpec: TypeAlias = dict[str, Any]
Change: TypeAlias = Callable[[object], object]

# Keys whose values are credentials, in the tools that servers run:
#   authorization, headers, domain_secrets, apiKey, x-api-key, access_token  -> credentials
#   server_label, server_url, max_tokens, allowed_tools                      -> none
_SECRET_KEY = re.compile(
    r".*(authorization|headers?|api[_-]?key|token|secrets?|password|credentials?|cookies?)",
    re.IGNORECASE,
)

# Addresses that carry a credential, in front of the host or in the query:
#   https://ada:hush@host/mcp   https://host/mcp?key=hush   -> carries one
#   https://host/mcp                                        -> carries none
_SECRET_URL = re.compile(r"[a-z][a-z0-9+.-]*://([^/?#]*@.*|[^?#]*\?.+)", re.IGNORECASE | re.DOTALL)

_SEALED = re.compile(r"\[kept in memory: ([0-9a-f]{32})\]")
_REMOVED = "[removed]"

# The schemas of these have names of parameters as keys, and nothing that a server would log in
# with.
_TYPES_WITHOUT_CREDENTIALS = ("function", "custom")

# Programs that make a new token for each call must not grow for ever.
_MAX_KEPT = 10_000


class _Vault:
    """The credentials of this process, by the server and the name that stands for them."""

    def __init__(self) -> None:
        self._values: OrderedDict[tuple[Hashable, str], object] = OrderedDict()
        self._lock = threading.Lock()
        # The same credential has the same name, so that it is kept once. The key is never stored,
        # so nobody who reads a file can try values until one has the name.
        self._key = secrets.token_bytes(32)

    def keep(self, value: object, server: Hashable) -> str:
        digest = hmac.new(self._key, _to_text(value).encode(), "sha256").hexdigest()
        name = digest[:32]
        with self._lock:
            self._values[server, name] = value
            self._values.move_to_end((server, name))
            if len(self._values) > _MAX_KEPT:
                self._values.popitem(last=False)
        return f"[kept in memory: {name}]"

    def find(self, name: str, server: Hashable) -> object:
        """Return the credential, or None if it is not here, or not for this server."""
        with self._lock:
            return self._values.get((server, name))


def _to_text(value: object) -> str:
    try:
        return to_json(value)
    except (TypeError, ValueError, RecursionError):
        return ascii(value)


_vault = _Vault()


class _CannotOpenError(Exception):
    """A credential is not here, or was given for another server."""


def seal_tools(tools: Sequence[ToolSpec], server: Hashable) -> tuple[ToolSpec, ...]:
    """Put names in the place of credentials, which are kept for this server.

    Args:
        tools: the tools; one that has no credential stays the same object, and so does a tuple of
            such tools.
        server: what may have the credentials again.
    """

    def seal(value: object) -> object:
        if _is_replaced(value):
            return value
        return _vault.keep(value, server)

    sealed = tuple(_change_credentials(tool, seal) for tool in tools)
    # Turns of a branch share their tools, which are then kept once.
    is_same = all(map(operator.is_, sealed, tools))
    return tools if is_same and isinstance(tools, tuple) else sealed


def open_tools(
    tools: Iterable[ToolSpec], server: Hashable, given: Iterable[ToolSpec] = ()
) -> tuple[tuple[ToolSpec, ...], list[str]]:
    """Put credentials back in the place of their names.

    Args:
        tools: the tools; one that has no sealed credential stays the same object.
        server: where the tools go.
        given: tools that were given for this server, which stand in for those that are the same
            but for their credentials.

    Returns:
        The tools that can go there, and a warning for each that cannot.
    """

    def open_value(value: object) -> object:
        if not _is_replaced(value):
            return value
        match = _SEALED.fullmatch(str(value))
        found = None if match is None else _vault.find(match[1], server)
        if found is None:
            raise _CannotOpenError
        return found

    opened = []
    warnings = []
    given = tuple(given)
    for tool in tools:
        try:
            opened.append(_change_credentials(tool, open_value))
        except _CannotOpenError:
            substitute = _find_same(tool, given)
            if substitute is not None:
                opened.append(substitute)
                continue
            name = tool.get("server_label") or tool.get("name") or tool.get("type")
            warnings.append(
                f"The tool {str(name)[:100]!r} of the branch was left out: its credentials stay in "
                "the process, and with the server, that they were given for. Give the tool again "
                "with tools= to have it here."
            )
    return tuple(opened), warnings


def _find_same(tool: ToolSpec, given: Iterable[ToolSpec]) -> ToolSpec | None:
    bare = without_credentials(tool)
    return next((each for each in given if without_credentials(each) == bare), None)


def remove_credentials(tool: ToolSpec) -> ToolSpec:
    """Put `[removed]` in the place of credentials that are not sealed.

    The tool stays the same object if it has none.
    """
    return _change_credentials(tool, lambda value: value if _is_replaced(value) else _REMOVED)


def without_credentials(tool: ToolSpec) -> ToolSpec:
    """Return the tool to be compared with others, whatever their credentials are."""
    return _change_credentials(tool, lambda _: _REMOVED)


def _is_replaced(value: object) -> bool:
    if not isinstance(value, str):
        return False
    return value == _REMOVED or _SEALED.fullmatch(value) is not None


def _change_credentials(tool: ToolSpec, change: Change) -> ToolSpec:
    if tool.get("type", "function") in _TYPES_WITHOUT_CREDENTIALS:
        return tool

    changed = _change_within(tool, change)
    assert isinstance(changed, dict)
    return tool if changed == tool else changed


def _change_within(value: object, change: Change) -> object:
    if isinstance(value, (list, tuple)):
        return [_change_within(each, change) for each in value]
    if not isinstance(value, Mapping):
        return value
    # A namespace holds functions.
    if value.get("type") in _TYPES_WITHOUT_CREDENTIALS:
        return value

    changed = {}
    for key, each in value.items():
        if _is_credential(key, each):
            changed[key] = change(each)
        else:
            changed[key] = _change_within(each, change)
    return changed


def _is_credential(key: object, value: object) -> bool:
    # A flag or a number is none, and an empty value needs no keeping.
    if not isinstance(key, str) or not isinstance(value, (str, Mapping, list, tuple)) or not value:
        return False
    if _SECRET_KEY.fullmatch(key):
        return True

    if not isinstance(value, str) or not key.lower().endswith("url"):
        return False
    return _is_replaced(value) or _SECRET_URL.fullmatch(value) is not None
