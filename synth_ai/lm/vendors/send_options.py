"""Options of a call that say how it is sent, and not what is asked."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from synth_ai.http.client import SendOptions
from synth_ai.lm.request import LMRequest
from synth_ai.options import GenerationOptions
from synth_ai.timeout import Timeout

_NO_TIMEOUT = Timeout()


def split_send_options(request: LMRequest) -> tuple[LMRequest, SendOptions]:
    """Split off the options that say how a request is sent.

    Returns:
        The request without `extra_headers`, `extra_query` and `extra_body`; and these, with the
        timeout if there is one, as the HTTP client takes them.
    """
    given = request.options
    send_options: SendOptions = {}
    headers = given.get("extra_headers")
    if headers is not None:
        send_options["headers"] = headers
    query = given.get("extra_query")
    if query is not None:
        send_options["params"] = query
    body = given.get("extra_body")
    if body is not None:
        send_options["extra_json"] = body

    if send_options:
        others = {name: value for name, value in given.items() if not name.startswith("extra_")}
        request = replace(request, options=cast("GenerationOptions", others))

    if request.timeout != _NO_TIMEOUT:
        send_options["timeout"] = request.timeout
    return request, send_options
