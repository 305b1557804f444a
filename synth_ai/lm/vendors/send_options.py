"""Options of a call that say how it is sent rather than what is asked."""

from __future__ import annotations

from dataclasses import replace

from synth_ai.http.client import SendOptions
from synth_ai.lm.request import LMRequest
from synth_ai.timeout import Timeout


def split_options(request: LMRequest) -> tuple[LMRequest, SendOptions]:
    """A request without the options that say how it is sent, and those."""
    given = request.options
    options: SendOptions = {}
    if (headers := given.get("extra_headers")) is not None:
        options["headers"] = headers
    if (query := given.get("extra_query")) is not None:
        options["params"] = query
    if (more := given.get("extra_body")) is not None:
        options["extra_json"] = more
    if options:
        body = {key: value for key, value in given.items() if not key.startswith("extra_")}
        request = replace(request, options=body)
    if request.timeout != Timeout():
        options["timeout"] = request.timeout
    return request, options
