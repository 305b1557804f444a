"""A backend over the stand-in for OpenAI's service, served over HTTP."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import uvicorn

pytest.importorskip("prometheus_client")

from servers.openai_fake import OpenAIServer
from synth_ai.backend import BackendConfig, make_app

#: Starts a backend of some options, and gives the address behind which its routes are.
StartBackend = Callable[..., str]


@contextmanager
def serve(app: Any) -> Iterator[str]:
    """Serve an ASGI application on a thread, and give its address."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    config = uvicorn.Config(
        app, log_level="warning", loop="asyncio", ws="none", timeout_graceful_shutdown=5
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()


@pytest.fixture
def transport() -> str:
    """The backend has its own way to the server, so nothing here runs twice."""
    return "aiohttp"


@pytest.fixture
def start_backend(openai_server: OpenAIServer) -> Iterator[StartBackend]:
    with ExitStack() as stack:

        def start(**options: Any) -> str:
            if "lm" not in options:
                options.setdefault("upstream", openai_server.base_url)
            app = make_app(BackendConfig(**options))
            return stack.enter_context(serve(app)) + "/api/v1"

        yield start
