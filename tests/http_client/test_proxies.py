"""Proxies of the environment, on both transports, and which of the two is taken."""

from __future__ import annotations

import base64
import logging
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from servers.sockets import SentRequest, SocketServer, chat_body, reply, serve
from synth_ai import LM
from synth_ai.errors import ConfigurationError, ConnectionFailedError
from synth_ai.http.proxies import Proxy, find_proxy

pytestmark = pytest.mark.usefixtures("clean_proxies")

KEY = "sk-secret-0123456789"
PASSWORD = "p%40ss-0123456789"
AUTHORIZATION = "Basic " + base64.b64encode(b"me:p@ss-0123456789").decode()


@pytest.fixture
def clean_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's own proxies are no part of a test."""
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name.upper()}_PROXY", raising=False)


@pytest.fixture
def server() -> Iterator[SocketServer]:
    """A server that nobody reaches through a proxy."""
    with serve(lambda _, connection: reply(connection, chat_body("direct"))) as server:
        yield server


@pytest.fixture
def proxy() -> Iterator[SocketServer]:
    """A proxy that answers for the server, and refuses to make a tunnel."""

    def answer(request: SentRequest, connection: socket.socket) -> None:
        if request.method == "CONNECT":
            reply(connection, b"", status="407 Proxy Authentication Required")
        else:
            reply(connection, chat_body("through the proxy"))

    with serve(answer, host="127.0.0.2") as server:
        yield server


def address_of(proxy: SocketServer, credentials: str = "") -> str:
    """The proxy as `HTTP_PROXY` names it."""
    host = proxy.base_url.removeprefix("http://").removesuffix("/v1")
    return f"http://{credentials}{host}"


def ask(base_url: str, **options: Any) -> str:
    """What a server answers, or whoever stands in for it."""
    with LM("m", base_url=base_url, api_key=KEY, retry=False, **options) as lm:
        return lm.respond("Hi").text


def test_calls_go_through_the_proxy(
    server: SocketServer, proxy: SocketServer, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    """With the whole address of the server, each of them."""
    monkeypatch.setenv("HTTP_PROXY", address_of(proxy))
    with LM("m", base_url=server.base_url, api_key=KEY, retry=False) as lm:
        assert [lm.respond("Hi").text for _ in range(3)] == ["through the proxy"] * 3
    assert [request.path for request in proxy.requests] == [
        f"{server.base_url}/chat/completions"
    ] * 3
    assert server.requests == []


@pytest.mark.parametrize(
    "bypassed", ["127.0.0.1", "localhost,127.0.0.1", "*", "127.0.0.0/8", " 127.0.0.1 "]
)
def test_servers_that_need_no_proxy(
    server: SocketServer,
    proxy: SocketServer,
    monkeypatch: pytest.MonkeyPatch,
    transport: str,
    bypassed: str,
) -> None:
    """By name, address or network."""
    monkeypatch.setenv("HTTP_PROXY", address_of(proxy))
    monkeypatch.setenv("NO_PROXY", bypassed)
    assert ask(server.base_url) == "direct"
    assert proxy.requests == []


def test_a_proxy_with_credentials(
    server: SocketServer,
    proxy: SocketServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    transport: str,
) -> None:
    """They are sent with every request, and shown nowhere."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("HTTP_PROXY", address_of(proxy, f"me:{PASSWORD}@"))
    with LM("m", base_url=server.base_url, api_key=KEY, retry=False) as lm:
        for _ in range(2):
            lm.respond("Hi")
        shown = repr(lm) + repr(vars(lm._config.vendor))
    sent = [request.headers["proxy-authorization"] for request in proxy.requests]
    assert sent == [AUTHORIZATION] * 2
    shown += "".join(f"{record.getMessage()} {record.args!r}" for record in caplog.records)
    assert PASSWORD not in shown
    assert "p@ss-0123456789" not in shown
    assert AUTHORIZATION.split()[1] not in shown


def test_a_tunnel_that_the_proxy_refuses(
    proxy: SocketServer, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    """The error says so, with the server's name and neither key nor password."""
    monkeypatch.setenv("HTTPS_PROXY", address_of(proxy, f"me:{PASSWORD}@"))
    with pytest.raises(ConnectionFailedError, match=r"api\.test.*407") as raised:
        ask("https://api.test/v1")
    request = proxy.requests[0]
    assert (request.method, request.path) == ("CONNECT", "api.test:443")
    assert request.headers["proxy-authorization"] == AUTHORIZATION
    assert "authorization" not in request.headers

    error: BaseException | None = raised.value
    while error is not None:
        shown = f"{error} {error!r} {error.args!r} {vars(error)!r}"
        assert KEY not in shown
        assert AUTHORIZATION.split()[1] not in shown
        assert PASSWORD not in shown
        error = error.__cause__ or error.__context__


def test_a_proxy_that_is_not_there(
    server: SocketServer, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    """It is an error of the connection."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with pytest.raises(ConnectionFailedError, match="cannot be reached at 127") as raised:
        ask(server.base_url)
    if transport == "aiohttp":
        assert "the proxy cannot be reached at 127.0.0.1:9" in str(raised.value)


def test_all_proxy_goes_over_httpx(
    server: SocketServer,
    proxy: SocketServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A line says so, without credentials; a proxy of the scheme comes first."""
    caplog.set_level(logging.INFO, logger="synth_ai")
    monkeypatch.setenv("ALL_PROXY", address_of(proxy, f"me:{PASSWORD}@"))
    assert ask(server.base_url, transport="aiohttp") == "through the proxy"
    lines = [record.getMessage() for record in caplog.records if record.name == "synth_ai"]
    address = server.base_url.removeprefix("http://").removesuffix("/v1")
    assert lines == [f"calls to {address} go over httpx, as ALL_PROXY names the proxy"]

    caplog.clear()
    monkeypatch.setenv("HTTP_PROXY", address_of(proxy))
    assert ask(server.base_url, transport="aiohttp") == "through the proxy"
    assert [record for record in caplog.records if record.name == "synth_ai"] == []


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
def test_a_socks_proxy_goes_over_httpx(
    server: SocketServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    variable: str,
) -> None:
    """Which speaks SOCKS if the package for it is installed, and else the error names it."""
    caplog.set_level(logging.INFO, logger="synth_ai")
    monkeypatch.setenv(variable, "socks5://127.0.0.1:9")
    with pytest.raises((ConfigurationError, ConnectionFailedError)) as raised:
        ask(server.base_url, transport="aiohttp")
    if isinstance(raised.value, ConfigurationError):
        assert "socks" in str(raised.value)
    assert "go over httpx" in caplog.text


def test_a_line_says_which_transport_is_used(
    server: SocketServer, caplog: pytest.LogCaptureFixture, transport: str
) -> None:
    """Once for each loop that calls."""
    caplog.set_level(logging.DEBUG, logger="synth_ai")
    with LM("m", base_url=server.base_url, retry=False) as lm:
        lm.respond("Hi")
        lm.respond("Hi")
    lines = [record.getMessage() for record in caplog.records]
    assert len([line for line in lines if line.endswith(f"go over {transport}")]) == 1


def test_many_calls_at_once_through_a_proxy(
    server: SocketServer, proxy: SocketServer, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    """Each goes through, none twice."""
    monkeypatch.setenv("HTTP_PROXY", address_of(proxy, f"me:{PASSWORD}@"))
    texts: list[str] = []
    with LM("m", base_url=server.base_url, api_key=KEY, retry=False) as lm:
        threads = [
            threading.Thread(target=lambda: texts.append(lm.respond("Hi").text)) for _ in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert texts == ["through the proxy"] * 20
    assert len(proxy.requests) == 20


@pytest.mark.parametrize(
    ("variables", "base_url", "proxy"),
    [
        ({}, "http://a.test/v1", None),
        ({"HTTP_PROXY": "p:1"}, "http://a.test/v1", Proxy("http://p:1")),
        ({"http_proxy": "https://p:1"}, "http://a.test/v1", Proxy("https://p:1")),
        ({"HTTP_PROXY": "http://p:1"}, "https://a.test/v1", None),
        ({"HTTPS_PROXY": "http://p:1"}, "https://a.test/v1", Proxy("http://p:1")),
        ({"HTTP_PROXY": "http://[::1]:1"}, "http://a.test/v1", Proxy("http://[::1]:1")),
        (
            {"HTTP_PROXY": "http://u:a%3Ab@p:1/x"},
            "http://a.test/v1",
            Proxy("http://p:1", "Basic dTphOmI="),
        ),
        ({"HTTP_PROXY": "http://u@p:1"}, "http://a.test/v1", Proxy("http://p:1", "Basic dTo=")),
        ({"ALL_PROXY": "socks5://p:1"}, "http://a.test/v1", Proxy("socks5://p:1", None, True)),
        ({"HTTP_PROXY": "p:1", "NO_PROXY": "a.test"}, "http://a.test/v1", None),
        ({"HTTP_PROXY": "p:1", "NO_PROXY": ".test"}, "http://a.test:8000/v1", None),
        ({"HTTP_PROXY": "p:1", "NO_PROXY": "a.test:8000"}, "http://a.test:8000/v1", None),
        ({"HTTP_PROXY": "p:1", "NO_PROXY": "b.test"}, "http://a.test/v1", Proxy("http://p:1")),
        ({"HTTP_PROXY": "p:1", "NO_PROXY": "::1"}, "http://[::1]:8000/v1", None),
        ({"HTTP_PROXY": "p:1", "NO_PROXY": "fd00::/8"}, "http://[fd00::7]/v1", None),
        ({"HTTP_PROXY": "p:1", "NO_PROXY": "10.0.0.0/8"}, "http://10.1.2.3/v1", None),
        (
            {"HTTP_PROXY": "p:1", "NO_PROXY": "10.0.0.0/8"},
            "http://11.1.2.3/v1",
            Proxy("http://p:1"),
        ),
    ],
)
def test_what_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    base_url: str,
    proxy: Proxy | None,
) -> None:
    """As `urllib` reads it, and networks of addresses too."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert find_proxy(base_url) == proxy
