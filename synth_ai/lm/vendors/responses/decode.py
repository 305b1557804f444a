"""Decode the body of an answer of the Responses API. Pure; `stream` reads what is streamed.

https://platform.openai.com/docs/api-reference/responses/object
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from synth_ai.lm.vendors.responses.shapes import ResponseBody, ResponseUsage
from synth_ai.lm.vendors.truncated_calls import drop_truncated_calls
from synth_ai.lm.vendors.wire import malformed_as, require_str
from synth_ai.response import BaseLMResponse, Usage


def decode_response(body: Mapping[str, object]) -> BaseLMResponse:
    """Decode the body of an answer.

    Raises:
        MalformedAnswerError: the body is not a response.
    """
    with malformed_as("The server's answer is not a response of the Responses API", body):
        return _decode_response(cast("ResponseBody", body))


def _decode_response(body: ResponseBody) -> BaseLMResponse:
    output = body["output"]
    warnings: list[str] = []
    if body.get("status") == "incomplete":
        output, warnings = drop_truncated_calls(output)

    error = None
    failure = body.get("error")
    if failure:
        error = f"{failure.get('code')}: {failure.get('message')}"

    details = body.get("incomplete_details") or {}
    return BaseLMResponse.of_output(
        output,
        response_id=require_str(body["id"]),
        api_type="responses",
        model=body.get("model"),
        status=body.get("status") or "completed",
        incomplete_reason=details.get("reason"),
        error=error,
        usage=decode_usage(body.get("usage")),
        logprobs=_collect_logprobs(output),
        warnings=warnings,
    )


def decode_usage(usage: ResponseUsage | None) -> Usage | None:
    """Decode token counts; None if the server sent none."""
    if not usage:
        return None

    input_details = usage.get("input_tokens_details") or {}
    output_details = usage.get("output_tokens_details") or {}
    return Usage(
        input_tokens=usage.get("input_tokens") or 0,
        output_tokens=usage.get("output_tokens") or 0,
        cached_tokens=input_details.get("cached_tokens") or 0,
        reasoning_tokens=output_details.get("reasoning_tokens") or 0,
    )


def _collect_logprobs(output: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]] | None:
    """Collect the entries of all parts of an answer, one a token; None if there are none."""
    entries: list[Mapping[str, Any]] = []
    for item in output:
        if item.get("type") != "message":
            continue
        for part in item.get("content") or ():
            entries += part.get("logprobs") or ()

    return entries or None
