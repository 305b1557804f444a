"""The table of routes, and how a request finds its handler. There is no HTTP library here.

A server and the transport under the SDK's client both call `answer`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar
from urllib.parse import unquote

from synth_ai.errors import SynthAIError
from synth_ai.openai_api import handlers
from synth_ai.openai_api.handles import Handle
from synth_ai.openai_api.refusals import RefusedRequestError
from synth_ai.openai_api.replies import APIRequest, JSONReply, StreamedReply, make_error_reply

Handler: TypeAlias = Callable[..., Awaitable[JSONReply | StreamedReply]]
"""Takes a handle, a request, and the parts of the path that the route leaves open."""

H = TypeVar("H")


@dataclass(frozen=True, slots=True)
class APIRoute(Generic[H]):
    """A route.

    Attributes:
        method: such as `GET`.
        path: the segments of the path; `{}` is any one segment, and `{...}` all that are left.
        handler: what answers.
    """

    method: str
    path: str
    handler: H


ROUTES: tuple[APIRoute[Handler], ...] = (
    APIRoute("POST", "/responses", handlers.create_response),
    APIRoute("GET", "/responses/{}", handlers.retrieve_response),
    APIRoute("DELETE", "/responses/{}", handlers.delete_response),
    APIRoute("GET", "/responses/{}/input_items", handlers.list_input_items),
    APIRoute("POST", "/chat/completions", handlers.create_chat_completion),
    APIRoute("GET", "/models", handlers.list_models),
    APIRoute("GET", "/models/{...}", handlers.retrieve_model),
)


async def answer(handle: Handle, request: APIRequest) -> JSONReply | StreamedReply:
    """Answer a request; what is wrong with it becomes a reply, too.

    Args:
        handle: the LM behind it.
        request: the request.

    Returns:
        A whole reply, or one that `streaming` drives.
    """
    try:
        route, parts = find_route(ROUTES, request.method, request.path)
        return await route.handler(handle, request, *parts)
    except (SynthAIError, RefusedRequestError) as error:
        return make_error_reply(error)


def find_route(
    routes: Sequence[APIRoute[H]], method: str, path: str
) -> tuple[APIRoute[H], tuple[str, ...]]:
    """Find the route of a request, and the parts of the path that it leaves open, unquoted.

    Args:
        routes: all that there are.
        method: of the request.
        path: of the request, behind the base URL.

    Raises:
        RefusedRequestError: there is none.
    """
    methods = []
    for route in routes:
        parts = _match(route.path, path)
        if parts is None:
            continue
        if route.method == method:
            return route, parts
        methods.append(route.method)

    if methods:
        raise RefusedRequestError(
            f"{method} is not allowed for {path:.200}, which takes {' and '.join(methods)}.",
            status=405,
            code="method_not_allowed",
        )
    raise RefusedRequestError(
        f"Unknown request URL: {method} {path:.200}. It is not served here.",
        status=404,
        code="unknown_url",
    )


def _match(pattern: str, path: str) -> tuple[str, ...] | None:
    """Match a path, segment by segment.

    ::

        /responses/{}, /responses/a%2Fb  ->  ("a/b",)
        /models/{...}, /models/a/b       ->  ("a/b",)
        /models, /models/                ->  ()
        /models, /responses              ->  None
    """
    wanted = pattern.strip("/").split("/")
    given = path.strip("/").split("/")
    if wanted[-1] == "{...}" and len(given) >= len(wanted):
        given = [*given[: len(wanted) - 1], "/".join(given[len(wanted) - 1 :])]
    if len(wanted) != len(given):
        return None
    return _match_segments(wanted, given)


def _match_segments(wanted: Sequence[str], given: Sequence[str]) -> tuple[str, ...] | None:
    parts = []
    for pattern, segment in zip(wanted, given, strict=True):
        if pattern in ("{}", "{...}"):
            parts.append(unquote(segment))
        elif pattern != segment:
            return None
    return tuple(parts)
