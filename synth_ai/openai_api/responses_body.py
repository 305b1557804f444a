"""An answer as the body of a response of the Responses API. Pure.

https://platform.openai.com/docs/api-reference/responses/object
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from synth_ai.openai_api.json_types import JSONFields, JSONObject
from synth_ai.openai_api.output_items import OutputItem, complete_output
from synth_ai.openai_api.times import find_end, find_start
from synth_ai.response import BaseLMResponse, Usage

#: The fields that an answer repeats of its request, with what stands there if it had none.
_ECHOED: Mapping[str, object] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": None,
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "service_tier": None,
    "store": True,
    "temperature": None,
    "tool_choice": "auto",
    "top_logprobs": None,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}

#: The reasons of an incomplete answer that OpenAI has a word for.
_INCOMPLETE_REASONS = frozenset({"max_output_tokens", "content_filter"})

#: The codes of a failed answer that OpenAI has.
_FAILURE_CODES = frozenset(
    {
        "server_error",
        "rate_limit_exceeded",
        "invalid_prompt",
        "vector_store_timeout",
        "invalid_image",
        "invalid_image_format",
        "invalid_base64_image",
        "invalid_image_url",
        "image_too_large",
        "image_too_small",
        "image_parse_error",
        "image_content_policy_violation",
        "invalid_image_mode",
        "image_file_too_large",
        "unsupported_image_media_type",
        "empty_image_file",
        "failed_to_download_image",
        "image_file_not_found",
    }
)


def make_response_body(
    answer: BaseLMResponse,
    request: Mapping[str, object],
    *,
    model: str,
    created_at: float | None = None,
    output: Sequence[OutputItem] | None = None,
) -> JSONObject:
    """Make the body of an answer.

    Args:
        answer: the answer.
        request: the request, which the body repeats in part.
        model: the model to name if the answer names none.
        created_at: when it began, in seconds since the epoch, if that has gone out already.
        output: its items, if they have gone out already; by default those of the answer.
    """
    began_at = find_start(answer) if created_at is None else created_at
    body = make_draft(answer.response_id, request, model=answer.model or model, at=began_at)
    body["status"] = answer.status
    body["output"] = complete_output(answer) if output is None else list(output)
    body["usage"] = make_usage(answer.usage)

    if answer.status == "completed":
        body["completed_at"] = find_end(answer)
    if answer.status == "incomplete":
        body["incomplete_details"] = _make_incomplete_details(answer.incomplete_reason)
    if answer.status == "failed":
        body["error"] = make_failure(answer.error)
    return body


def make_draft(
    response_id: str, request: Mapping[str, object], *, model: str, at: float
) -> JSONObject:
    """Make the body of an answer that has only begun.

    Args:
        response_id: its id.
        request: the request, which the body repeats in part.
        model: the model.
        at: when it was made, in seconds since the epoch.
    """
    body: JSONObject = {
        "id": response_id,
        "object": "response",
        "created_at": at,
        "model": model,
        "status": "in_progress",
        "output": [],
        "usage": None,
        "error": None,
        "incomplete_details": None,
    }
    for name, default in _ECHOED.items():
        value = request.get(name)
        body[name] = default if value is None else value

    body["metadata"] = body["metadata"] or {}
    body["tools"] = [_echo_tool(tool) for tool in _as_list(request.get("tools"))]
    body["reasoning"] = {"effort": None, "summary": None, **_as_dict(request.get("reasoning"))}
    body["text"] = {"format": {"type": "text"}, **_as_dict(request.get("text"))}
    return body


def make_usage(usage: Usage | None) -> JSONObject | None:
    """Make the token counts of an answer; None if the backend has none."""
    if usage is None:
        return None
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


def make_failure(error: str | None) -> dict[str, str]:
    """Make the `error` of an answer that failed.

    ::

        "rate_limit_exceeded: Slow down."  ->  {"code": "rate_limit_exceeded", ...}
        "The model stopped."               ->  {"code": "server_error", ...}
    """
    text = error or "The model gave no answer."
    code, separator, message = text.partition(": ")
    if separator and code in _FAILURE_CODES:
        return {"code": code, "message": message}
    return {"code": "server_error", "message": text}


def _make_incomplete_details(reason: str | None) -> dict[str, str | None]:
    # The SDK's type has no other words.
    return {"reason": reason if reason in _INCOMPLETE_REASONS else None}


def _echo_tool(tool: JSONFields) -> JSONFields:
    if tool.get("type") != "function":
        return tool
    return {"description": None, "parameters": None, "strict": False, **tool}


def _as_list(value: object) -> Sequence[JSONFields]:
    return value if isinstance(value, list) else ()


def _as_dict(value: object) -> JSONFields:
    return value if isinstance(value, dict) else {}
