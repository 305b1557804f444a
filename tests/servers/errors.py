"""The errors of OpenAI's service, with the bodies and headers it is documented or known to send."""

from __future__ import annotations

from typing import Any

from servers.answers import Raw


def error(
    status: int,
    message: str,
    *,
    type: str = "invalid_request_error",
    code: str | None = None,
    param: str | None = None,
    **headers: str,
) -> Raw:
    """An error answer; `headers` are written with underscores (`retry_after_ms="20"`)."""
    body = {"error": {"message": message, "type": type, "param": param, "code": code}}
    return Raw(
        body, status, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


def missing_key() -> Raw:
    """401: the request has no key."""
    return error(
        401,
        "You didn't provide an API key. "
        "You need to provide your API key in an Authorization header.",
    )


def invalid_api_key(key: str = "sk-wrong") -> Raw:
    """401: the key is unknown."""
    shown = f"{key[:3]}{'*' * 8}{key[-4:]}"
    message = (
        f"Incorrect API key provided: {shown}. "
        "You can find your API key at https://platform.openai.com/api-keys."
    )
    return error(401, message, code="invalid_api_key")


def model_not_found(model: str) -> Raw:
    """404 of a create call; `GET /v1/models/{model}` answers with it too."""
    message = f"The model `{model}` does not exist or you do not have access to it."
    return error(404, message, code="model_not_found")


def previous_response_not_found(response_id: str) -> Raw:
    """400: the response expired, was deleted, or never was on this server."""
    message = f"Previous response with id '{response_id}' not found."
    return error(400, message, code="previous_response_not_found", param="previous_response_id")


def zero_data_retention() -> Raw:
    """400: the organisation keeps nothing, so nothing can be continued from."""
    message = "Previous response cannot be used for this organization due to Zero Data Retention."
    return error(400, message, code="unsupported_parameter", param="previous_response_id")


def response_not_found(response_id: str) -> Raw:
    """404 of retrieve, delete and input_items."""
    return error(404, f"Response with id '{response_id}' not found.")


def no_tool_output(call_id: str) -> Raw:
    """400: a function call in the conversation has no output."""
    return error(400, f"No tool output found for function call {call_id}.", param="input")


def no_tool_call(call_id: str) -> Raw:
    """400: an output answers a call that is not in the conversation."""
    return error(
        400, f"No tool call found for function call output with call_id {call_id}.", param="input"
    )


def unanswered_tool_calls(position: int, call_ids: list[str]) -> Raw:
    """400 on Chat: an assistant message's tool calls are not followed by a tool message each."""
    message = (
        "An assistant message with 'tool_calls' must be followed by tool messages responding to "
        "each 'tool_call_id'. "
        f"The following tool_call_ids did not have response messages: {', '.join(call_ids)}"
    )
    return error(400, message, param=f"messages.[{position}].role")


def item_not_found(item_id: str) -> Raw:
    """404: an item is named by an id that this server never stored."""
    message = (
        f"Item with id '{item_id}' not found. "
        "Items are not persisted when `store` is set to false. "
        "Try again with `store` set to true, or remove this item from your input."
    )
    return error(404, message, param="input")


def invalid_encrypted_content(ciphertext: str) -> Raw:
    """400: the encrypted reasoning is cut, or another organisation's."""
    shown = f"{ciphertext[:4]}...{ciphertext[-4:]}"
    return error(
        400,
        f"The encrypted content {shown} could not be verified.",
        code="invalid_encrypted_content",
    )


def lonely_reasoning(item_id: str) -> Raw:
    """400: a reasoning item without what the model wrote next."""
    return error(
        400,
        f"Item '{item_id}' of type 'reasoning' was provided without its required following item.",
    )


def missing_reasoning(item_id: str, item_type: str, reasoning_id: str) -> Raw:
    """400: an item that the server stored with its reasoning came back without it."""
    message = (
        f"Item '{item_id}' of type '{item_type}' was provided without its required "
        "'reasoning' item: "
    )
    return error(400, f"{message}'{reasoning_id}'.")


def unsupported_parameter(name: str, instead: str | None = None) -> Raw:
    """400: this model does not take a parameter, such as `max_tokens` or `temperature`."""
    message = f"Unsupported parameter: '{name}' is not supported with this model."
    return error(
        400,
        message + (f" Use '{instead}' instead." if instead else ""),
        code="unsupported_parameter",
        param=name,
    )


def context_length_exceeded(limit: int = 128_000, asked: int = 130_000) -> Raw:
    """400: the conversation is too long for the model."""
    message = (
        f"This model's maximum context length is {limit} tokens. "
        f"However, your messages resulted in {asked} tokens. "
        "Please reduce the length of the messages."
    )
    return error(400, message, code="context_length_exceeded", param="messages")


def rate_limited(*, retry_after_ms: int = 20, retry_after: str | None = None) -> Raw:
    """429: too many requests for now. With `retry_after`, that header is sent alone."""
    wait = {"retry_after": retry_after} if retry_after is not None else _waits(retry_after_ms)
    message = (
        "Rate limit reached for gpt-5 in organization org-test on requests per min (RPM): "
        "Limit 3, Used 3."
    )
    headers = {
        "x_ratelimit_limit_requests": "3",
        "x_ratelimit_remaining_requests": "0",
        "x_ratelimit_reset_requests": f"{retry_after_ms}ms",
    }
    return error(429, message, type="requests", code="rate_limit_exceeded", **headers, **wait)


def insufficient_quota() -> Raw:
    """429 that no waiting mends: the account has no credit left."""
    message = "You exceeded your current quota, please check your plan and billing details."
    return error(429, message, type="insufficient_quota", code="insufficient_quota")


def server_error(status: int = 500, *, retry_after_ms: int | None = None) -> Raw:
    """500, or 503 when the service is overloaded."""
    message = "The server had an error while processing your request. Sorry about that!"
    wait = {} if retry_after_ms is None else _waits(retry_after_ms)
    return error(status, message, type="server_error", **wait)


def bad_gateway() -> Raw:
    """502 from a proxy in front of the service, in HTML."""
    return Raw(
        "<html><body><h1>502 Bad Gateway</h1></body></html>",
        502,
        headers={"content-type": "text/html"},
    )


def error_with_status_200(message: str = "Unexpected token in the message header.") -> Raw:
    """An error body under the status of a success, as vLLM's output parsers can send."""
    fields: dict[str, Any] = {
        "message": message,
        "type": "BadRequestError",
        "param": None,
        "code": 400,
    }
    return Raw({"error": fields})


def _waits(milliseconds: int) -> dict[str, str]:
    return {"retry_after_ms": str(milliseconds), "retry_after": str(-(-milliseconds // 1000))}
