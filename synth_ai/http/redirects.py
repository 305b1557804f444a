"""Redirects: followed on the same server alone, with the request as it is.

HTTP libraries send the prompt, and all headers but `Authorization`, to any host that a server
names, and make a GET without a body of some redirected POSTs.
"""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from synth_ai.errors import RejectedError
from synth_ai.http.transport import HTTPRequest, HTTPResponse

_STATUSES = frozenset({301, 302, 303, 307, 308})

# Redirects of one request.
_MAX_REDIRECTS = 5

_DEFAULT_PORTS = {"http": 80, "https": 443}

# What may stand in an address as it is; a blank, for example, would end it where it is sent.
_SAFE_IN_ADDRESS = "%/:=&?~#+!$,;'@()*[]"


def is_redirect(response: HTTPResponse) -> bool:
    """Tell whether a response sends its request elsewhere."""
    return response.status in _STATUSES and "location" in response.headers


def follow_redirect(request: HTTPRequest, response: HTTPResponse, count: int) -> HTTPRequest:
    """Make the request that a redirect asks for.

    Args:
        request: what was redirected.
        response: the redirect.
        count: how many there were, this one included.

    Raises:
        RejectedError: it leads to another server, would change the request, or is one too many.
    """
    before = urlsplit(request.url)
    start = f"{response.status}: The server at {_origin(before)} redirects to "
    try:
        location = quote(response.headers["location"], safe=_SAFE_IN_ADDRESS)
        url = urljoin(request.url, location)
        target = urlsplit(url)
        is_same_server = _server_of(target) == _server_of(before)
    except ValueError as error:
        message = f"{start}an address that cannot be read. Give the right one as base_url=."
        raise RejectedError(message, status_code=response.status) from error

    message = f"{start}{_origin(target)}{target.path}, "
    method = _method_after(request.method, response.status)
    if not is_same_server:
        message += (
            "which is another origin, so nothing was sent there: neither the request nor its "
            "headers. If that is the right server, give its address as base_url=."
        )
    elif method != request.method:
        message += (
            f"which would make a {method} without a body of this {request.method}. "
            "Give the address that it names as base_url=."
        )
    elif count > _MAX_REDIRECTS:
        message += f"after {_MAX_REDIRECTS} redirects before it. They may go round in a circle."
    else:
        return replace(request, url=url)

    raise RejectedError(message, status_code=response.status)


def _method_after(method: str, status: int) -> str:
    """Return the method that clients go on with after a redirect, as browsers do."""
    if status in (302, 303):
        return "GET"
    if status == 301 and method == "POST":
        return "GET"

    return method


def _server_of(url: SplitResult) -> tuple[str, str | None, int | None]:
    """Return what tells one server from another; `http://host` is `http://host:80`.

    Raises:
        ValueError: the port is not a number.
    """
    port = url.port
    if port is None:
        port = _DEFAULT_PORTS.get(url.scheme)

    return url.scheme, url.hostname, port


def _origin(url: SplitResult) -> str:
    """Return where a server is: its scheme, host and port, without credentials."""
    host = url.netloc.rpartition("@")[2]
    return f"{url.scheme}://{host}"
