"""Options of a call that are the SDK's rather than the API's."""

from __future__ import annotations

from dataclasses import replace

from synth_ai.lm.request import LMRequest
from synth_ai.sdk.client import SDKOptions


def split_options(request: LMRequest) -> tuple[LMRequest, SDKOptions]:
    """A request without the options that are the SDK's rather than the API's, and those in the SDK's own terms."""
    given = request.options
    named = {
        "headers": given.get("extra_headers"),
        "params": given.get("extra_query"),
        "extra_json": given.get("extra_body"),
        "timeout": request.timeout,
    }
    if not any(value is not None for value in named.values()):
        return request, {}
    body = {key: value for key, value in given.items() if not key.startswith("extra_")}
    return replace(request, options=body), {key: value for key, value in named.items() if value is not None}
