"""The transports by their names, and which of them is taken."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from synth_ai.errors import OptionError, did_you_mean
from synth_ai.http.connection_errors import find_address
from synth_ai.http.transport import HTTPTransport

if TYPE_CHECKING:
    from synth_ai.http.proxies import Proxy

logger = logging.getLogger("synth_ai")

DEFAULT_TRANSPORT = "aiohttp"

# The proxies that aiohttp can talk to.
_PROXY_SCHEMES = ("http", "https")


@dataclass(frozen=True, slots=True)
class Server:
    """A server, and who calls it.

    Attributes:
        base_url: the server's address.
        api_key: sent as a bearer token.
        openai_account: send the organization and project of the environment too; they are OpenAI's.
    """

    base_url: str
    api_key: str = field(repr=False)
    openai_account: bool = False


MakeTransport: TypeAlias = Callable[[Server], HTTPTransport]


def read_transport(name: str | None) -> str:
    """Return the name of a transport, that of the default one for None.

    Raises:
        OptionError: there is none of this name.
    """
    if name is None:
        return DEFAULT_TRANSPORT

    if name not in _TRANSPORTS:
        raise OptionError(
            f"transport={name!r} is unknown; it takes {' or '.join(_TRANSPORTS)}."
            f"{did_you_mean(name, _TRANSPORTS)}"
        )
    return name


def make_transport(name: str, server: Server) -> HTTPTransport:
    """Make the transport of a name; it imports an HTTP library, which may take a second.

    Raises:
        ConfigurationError: the proxy or the certificates of the environment cannot be used.
    """
    return _TRANSPORTS[name](server)


def _make_aiohttp(server: Server) -> HTTPTransport:
    """Make aiohttp's transport; the SDK's if the way leads through a proxy that it cannot use."""
    from synth_ai.http.proxies import find_proxy

    address = find_address(server.base_url)
    proxy = find_proxy(server.base_url)
    reason = None if proxy is None else _why_not_over_aiohttp(proxy)
    if reason is not None:
        logger.info("calls to %s go over httpx, as %s", address, reason)
        return _make_sdk(server)

    from synth_ai.http.aiohttp_transport import AiohttpTransport

    logger.debug("calls to %s go over aiohttp", address)
    return AiohttpTransport(
        server.base_url, server.api_key, openai_account=server.openai_account, proxy=proxy
    )


def _make_httpx(server: Server) -> HTTPTransport:
    logger.debug("calls to %s go over httpx", find_address(server.base_url))
    return _make_sdk(server)


def _make_sdk(server: Server) -> HTTPTransport:
    from synth_ai.http.sdk_transport import SDKTransport

    return SDKTransport(server.base_url, server.api_key, openai_account=server.openai_account)


def _why_not_over_aiohttp(proxy: Proxy) -> str | None:
    """Say why aiohttp cannot use a proxy; None if it can."""
    if proxy.scheme not in _PROXY_SCHEMES:
        return f"aiohttp does not speak to a {proxy.scheme} proxy"
    if proxy.is_for_all:
        return "ALL_PROXY names the proxy"

    return None


_TRANSPORTS: Mapping[str, MakeTransport] = {"aiohttp": _make_aiohttp, "httpx": _make_httpx}
