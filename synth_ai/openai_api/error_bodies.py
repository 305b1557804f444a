"""Errors in OpenAI's shape: the status and the body for each of ours. Pure.

https://platform.openai.com/docs/guides/error-codes
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from synth_ai import errors
from synth_ai.openai_api.refusals import RefusedRequestError

#: Statuses of our errors, the narrow ones before the wide ones. A server's own status comes first.
_STATUSES: tuple[tuple[type[errors.SynthAIError], int], ...] = (
    (errors.RequestError, 400),
    (errors.OptionError, 400),
    (errors.AuthenticationFailedError, 401),
    (errors.NotFoundError, 404),
    (errors.RateLimitError, 429),
    (errors.SpendingCapError, 429),
    (errors.TimedOutError, 504),
    (errors.RejectedError, 400),
    (errors.OverloadedError, 503),
    (errors.ServerError, 502),
    (errors.EngineRequestError, 400),
    (errors.EngineError, 503),
    (errors.StoreConflictError, 409),
    (errors.StoreError, 503),
)

#: OpenAI's codes for our errors, where it has one.
_CODES: tuple[tuple[type[errors.SynthAIError], str], ...] = (
    (errors.UnknownResponseError, "previous_response_not_found"),
    (errors.ContextLengthError, "context_length_exceeded"),
    (errors.RateLimitError, "rate_limit_exceeded"),
    (errors.SpendingCapError, "insufficient_quota"),
)

#: The fields of the request that our errors are about.
_PARAMS: tuple[tuple[type[errors.SynthAIError], str], ...] = (
    (errors.UnknownResponseError, "previous_response_id"),
    (errors.ForgottenResponseError, "previous_response_id"),
    (errors.MissingToolOutputError, "input"),
    (errors.ContextLengthError, "input"),
    (errors.ToolError, "tools"),
)

#: The types of errors by status; all others of a client are invalid requests.
_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}

#: Statuses that a server answers with, and that mean the same to a client of ours.
_CLIENT_STATUSES = range(400, 500)


def find_status(error: errors.SynthAIError | RefusedRequestError) -> int:
    """Find the HTTP status for an error."""
    if isinstance(error, RefusedRequestError):
        return error.status

    if isinstance(error, errors.ServerError) and error.status_code in _CLIENT_STATUSES:
        assert error.status_code is not None
        return error.status_code

    for error_class, status in _STATUSES:
        if isinstance(error, error_class):
            return status
    return 500


def make_error_body(error: errors.SynthAIError | RefusedRequestError) -> dict[str, object]:
    """Make the body for an error.

    ::

        {"error": {"message": ..., "type": "invalid_request_error", "param": ..., "code": ...}}
    """
    return {"error": describe_error(error)}


def describe_error(error: errors.SynthAIError | RefusedRequestError) -> dict[str, object]:
    """Describe an error by the four fields that OpenAI's errors have."""
    status = find_status(error)
    if isinstance(error, RefusedRequestError):
        code, param = error.code, error.param
    else:
        code, param = _find_code(error), _find_by_class(error, _PARAMS)

    return {
        "message": str(error),
        "type": _find_type(status),
        "param": param,
        "code": code,
    }


def make_error_headers(error: errors.SynthAIError | RefusedRequestError) -> dict[str, str]:
    """Make the headers for an error: when to try again, and the id of the request behind it."""
    headers: dict[str, str] = {}
    if isinstance(error, errors.SpendingCapError):
        # The SDK would try again.
        headers["x-should-retry"] = "false"
    if not isinstance(error, errors.ServerError):
        return headers

    if error.retry_after is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after))
        headers["retry-after-ms"] = str(round(error.retry_after * 1000))
    if error.request_id is not None:
        headers["x-request-id"] = error.request_id
    return headers


def _find_type(status: int) -> str:
    if status >= 500:
        return "server_error"
    return _TYPES.get(status, "invalid_request_error")


def _find_code(error: errors.SynthAIError) -> str | None:
    if isinstance(error, errors.ServerError) and error.code is not None:
        return error.code
    return _find_by_class(error, _CODES)


def _find_by_class(
    error: errors.SynthAIError, table: tuple[tuple[type[errors.SynthAIError], str], ...]
) -> str | None:
    for error_class, value in table:
        if isinstance(error, error_class):
            return value
    return None
