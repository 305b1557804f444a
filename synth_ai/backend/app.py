"""The ASGI application of a backend."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from synth_ai._version import __version__
from synth_ai.backend.config import BackendConfig
from synth_ai.backend.gateway import Gateway
from synth_ai.backend.local import LocalService
from synth_ai.backend.metrics import CONTENT_TYPE
from synth_ai.backend.openapi import make_document
from synth_ai.backend.replies import Service
from synth_ai.backend.upstream import UpstreamService
from synth_ai.backend.usage import UsageFile
from synth_ai.store.base import ResponseStore
from synth_ai.store.open import open_store

Endpoint = Callable[[Request], Awaitable[Response]]


def make_app(options: BackendConfig) -> Starlette:
    """Make the application of a backend, for uvicorn or another server of ASGI.

    Its routes are those of OpenAI under the prefix, `/health`, `/metrics`, and `/openapi.json`.

    Args:
        options: what it serves, and to whom.

    Raises:
        StoreError: the store cannot be opened.
    """
    store, service = _make_service(options)
    gateway = Gateway(service, options)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await service.aopen()
        yield
        await service.aclose()
        if store is not None and store is not options.store:
            await store.aclose()
        if isinstance(options.on_usage, UsageFile):
            options.on_usage.close()

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok", "version": __version__})

    async def metrics(request: Request) -> Response:
        return Response(gateway.metrics.write(), media_type=CONTENT_TYPE)

    async def document(request: Request) -> Response:
        return JSONResponse(make_document(options))

    return Starlette(
        routes=[
            Route("/health", health),
            Route("/metrics", metrics),
            Route("/openapi.json", document),
            Mount(options.prefix, gateway),
        ],
        lifespan=lifespan,
    )


def _make_service(options: BackendConfig) -> tuple[ResponseStore | None, Service]:
    if options.lm is not None:
        return None, LocalService(options.lm)

    assert options.upstream is not None
    store = open_store(options.store)
    service = UpstreamService(
        options.upstream, key=options.upstream_key, models=options.models, store=store
    )
    return store, service
