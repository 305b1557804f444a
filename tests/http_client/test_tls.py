"""Which certificates are trusted, on both transports; also through a proxy, and over IPv6."""

from __future__ import annotations

import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from servers.sockets import SentRequest, SocketServer, chat_body, reply, serve
from synth_ai import LM
from synth_ai.errors import ConnectionFailedError, SettingError

TLS = Path(__file__).parent.parent / "servers" / "tls"
CERTIFICATE = TLS / "certificate.pem"

#: The name by which OpenSSL finds the certificate in a directory: `openssl x509 -subject_hash`.
HASHED_NAME = "13679d5c.0"


@pytest.fixture(autouse=True)
def clean_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads the developer's certificates and proxies."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[SocketServer]:
    """A server that speaks TLS, with a certificate that nobody knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, TLS / "key.pem")
    with serve(lambda _, connection: reply(connection, chat_body()), context=context) as server:
        yield server


def ask(base_url: str) -> str:
    """What a server answers."""
    with LM("m", base_url=base_url, api_key="sk-0123456789abcdef", retry=False) as lm:
        return lm.respond("Hi").text


def test_an_unknown_certificate(server: SocketServer, transport: str) -> None:
    """Nothing is sent, and the error says why."""
    with pytest.raises(ConnectionFailedError, match="CERTIFICATE_VERIFY_FAILED"):
        ask(server.base_url)
    assert server.requests == []


def test_a_file_of_certificates(
    server: SocketServer, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    """It replaces all others."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    assert ask(server.base_url) == "hi"


def test_a_directory_of_certificates(
    server: SocketServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, transport: str
) -> None:
    """It is asked for those that a server shows."""
    shutil.copy(CERTIFICATE, tmp_path / HASHED_NAME)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert ask(server.base_url) == "hi"


def test_another_file_of_certificates(
    server: SocketServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, transport: str
) -> None:
    """The file counts, and not the directory."""
    shutil.copy(CERTIFICATE, tmp_path / HASHED_NAME)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    monkeypatch.setenv("SSL_CERT_FILE", str(TLS / "other.pem"))
    with pytest.raises(ConnectionFailedError, match="CERTIFICATE_VERIFY_FAILED"):
        ask(server.base_url)


def test_a_file_that_is_not_there(
    server: SocketServer, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    """The error names the variable."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/certificates.pem")
    with pytest.raises(SettingError, match="SSL_CERT_FILE"):
        ask(server.base_url)


def test_a_tunnel_through_a_proxy(
    server: SocketServer, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    """The proxy sees the name of the server alone."""
    port = int(server.base_url.split(":")[2].removesuffix("/v1"))

    def relay(request: SentRequest, connection: socket.socket) -> str:
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with socket.create_connection(("127.0.0.1", port)) as onward:
            back = threading.Thread(target=_copy, args=(onward, connection), daemon=True)
            back.start()
            _copy(connection, onward)
        return "close"

    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with serve(relay) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.base_url.removesuffix("/v1"))
        assert ask(server.base_url) == "hi"
    assert [request.method for request in proxy.requests] == ["CONNECT"]
    assert "authorization" not in proxy.requests[0].headers
    assert len(server.requests) == 1


def test_a_server_at_an_address_of_ipv6(transport: str) -> None:
    """Its brackets are part of the address."""
    with serve(lambda _, connection: reply(connection, chat_body()), host="::1") as server:
        assert ask(server.base_url) == "hi"
    assert server.requests[0].headers["host"].startswith("[::1]:")


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65_536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
