"""What went wrong on a server, in this library's own errors: from statuses, from bodies, from the SDK's exceptions.

The only place where the SDK's errors are known; nothing above it sees one.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from synth_ai import errors
from synth_ai.http.secrets import Secrets

_NOTHING = Secrets(())

_BY_STATUS: Mapping[int, type[errors.ServerError]] = {
    401: errors.AuthenticationFailedError,
    403: errors.AuthenticationFailedError,
    404: errors.NotFoundError,
    408: errors.TimedOutError,
    429: errors.RateLimitError,
}

#: What the code, or else the type, of an error body says where there is no status to go by.
_BY_WORD: Mapping[str, type[errors.ServerError]] = {
    "server_error": errors.OverloadedError,
    "internal_error": errors.OverloadedError,
    "InternalServerError": errors.OverloadedError,
    "rate_limit_exceeded": errors.RateLimitError,
    "insufficient_quota": errors.RateLimitError,
}

#: OpenAI's codes, and llama.cpp's type, for a conversation that does not fit.
_TOO_LONG = frozenset(
    {"context_length_exceeded", "string_above_max_length", "exceed_context_size_error"}
)

_TAG = re.compile(r"<(style|script|head)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)

#: Characters of an error page that go into a message; the whole is in the error's `body`.
_LONGEST_WORDS = 300


def decoded(content: bytes) -> dict[str, Any]:
    """The JSON object in a body.

    Raises:
        MalformedAnswerError: it holds something else.
        ServerError: it is an error that came with a status of success.
    """
    try:
        data = json.loads(content)
    except ValueError as error:
        text = content.decode("utf-8", "replace")
        raise errors.MalformedAnswerError(
            f"The server's answer is not JSON: {text[:200]!r}", body=text
        ) from error
    if not isinstance(data, dict):
        raise errors.MalformedAnswerError(
            f"The server's answer is no JSON object: {data!r:.200}", body=data
        )
    # Some servers, vLLM among them, send errors of their own with status 200.
    inner = data.get("error")
    if isinstance(inner, dict) and data.get("object") in (None, "error"):
        raise from_body(inner, "The server answered 200 with an error inside")
    return data


def decoded_event(text: str) -> dict[str, Any]:
    """The JSON object in an event of a stream; an empty one for other JSON, which no API here sends.

    Raises:
        MalformedAnswerError: it holds something else.
        ServerError: it is an error.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise errors.MalformedAnswerError(
            f"An event of the stream is not JSON: {text[:200]!r}", body=text
        ) from error
    if not isinstance(data, dict):
        return {}
    if inner := data.get("error"):
        raise from_body(
            inner if isinstance(inner, dict) else {"message": inner},
            "The stream ended with an error",
        )
    return data


def from_body(error: Mapping[str, Any], what: str) -> errors.ServerError:
    """Our error for an error body that came without a status of its own; `what` says where it was."""
    code = error.get("code")
    # Some gateways write the status as a string.
    status = int(str(code)) if str(code).isdecimal() and len(str(code)) == 3 else None
    if status is not None:
        kind = _class_of(status)
    else:
        said = (_BY_WORD.get(str(error.get(name))) for name in ("code", "type"))
        kind = next((kind for kind in said if kind is not None), errors.RejectedError)
    if kind is errors.RejectedError and _is_too_long(error):
        kind = errors.PromptTooLongError
    return kind(
        f"{what}: {error.get('message')}", status_code=status, code=_text(code), body=dict(error)
    )


def _class_of(status: int) -> type[errors.ServerError]:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return errors.OverloadedError if status >= 500 else errors.RejectedError


def _is_too_long(body: Any) -> bool:
    """Whether a server says that the conversation does not fit, by a code or, as vLLM and others do, by its words."""
    if not isinstance(body, Mapping):
        return False
    said = {str(body.get(name)) for name in ("code", "type")}
    return bool(said & _TOO_LONG) or "maximum context length" in str(body.get("message"))


class translated:
    """Turn the SDK's errors into ours, keeping the cause, and mask secrets where a server repeats them.

    Raises:
        ServerError: TimedOutError, ConnectionFailedError, or the class of the status that came back.
    """

    __slots__ = ("_secrets",)

    # No generator: thousands of calls may wait in here, and each would hold a frame more.
    def __init__(self, secrets: Secrets = _NOTHING) -> None:
        self._secrets = secrets

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, Exception):
            return
        self._secrets.mask_error(error)
        if isinstance(error, errors.SynthAIError) or (ours := translate(error)) is None:
            return
        self._secrets.mask_error(ours)
        raise ours from error


def unreached(error: Exception, address: str) -> errors.ConnectionFailedError:
    """Our error for a request that got no answer. The HTTP library, its transport and the system have their own."""
    if _broken(error) is errors.TimedOutError:
        return errors.TimedOutError(
            "The server did not answer in time; the request may still have run."
        )
    return errors.ConnectionFailedError(
        f"The server cannot be reached at {address}: {error or type(error).__name__}"
    )


def translate(error: Exception) -> errors.ServerError | None:
    """Our error for one of the SDK's; None for an error that is not the SDK's."""
    import openai

    if isinstance(error, openai.APIStatusError):
        return _from_status(error)
    if (kind := _broken(error)) is not None:
        cause = error.__cause__ if isinstance(error, openai.APIError) else None
        return kind(f"The connection broke: {cause or error or type(error).__name__}")
    if isinstance(error, openai.APIError):
        body = error.body if isinstance(error.body, dict) else {"message": error.message}
        return from_body(body, "The stream ended with an error")
    if isinstance(error, UnicodeDecodeError):
        return errors.MalformedAnswerError(
            "The stream is not UTF-8, or it was cut off in the middle of a character."
        )
    return None


def _broken(error: Exception) -> type[errors.ConnectionFailedError] | None:
    """What an error of the SDK's HTTP library, or the SDK's own around it, means for the connection.

    They are told by their names, as which library it is (httpx or httpx2) is the SDK's own business, and openai 2.x
    lets those of a stream's body through as they are.
    """
    kinds = {
        kind.__name__
        for kind in type(error).__mro__
        if _library(kind) in ("httpx", "httpx2", "openai")
    }
    if kinds & {"TimeoutException", "APITimeoutError"}:
        # The SDK's aiohttp transport calls a refused connection a timeout too.
        cause = error.__cause__
        refused = _library(type(cause)) == "aiohttp" and not isinstance(cause, TimeoutError)
        return errors.ConnectionFailedError if refused else errors.TimedOutError
    return (
        errors.ConnectionFailedError
        if kinds & {"RequestError", "StreamError", "APIConnectionError"}
        else None
    )


def _library(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def _from_status(error: Any) -> errors.ServerError:
    status = error.status_code
    headers = error.response.headers
    message = f"{status}: {_message(error.body) or error.message}"
    if status == 404:
        message += _where(error.response.request.url)
    if error.request_id:
        message += f" (request {error.request_id})"
    kind = _class_of(status)
    if kind is errors.RejectedError and _is_too_long(error.body):
        kind = errors.PromptTooLongError
    return kind(
        message,
        status_code=status,
        request_id=error.request_id,
        code=_text(error.code),
        body=error.body,
        retry_after=_retry_after(headers),
    )


def _where(url: Any) -> str:
    """The address that was not found, and the likeliest reason."""
    hint = (
        ""
        if "/v1" in url.path
        else "; most servers have their API under /v1, which belongs into base_url"
    )
    return f" (at {url.scheme}://{url.netloc.decode()}{url.path}{hint})"


def _message(body: Any) -> str | None:
    """What an error body says: OpenAI's `error.message`, or what Ollama, FastAPI, gateways and others have instead."""
    if isinstance(body, str):
        return _first_words(body)
    if isinstance(body, list) and body:
        return _message(body[0])
    if not isinstance(body, dict):
        return None
    found = next(
        (body[name] for name in ("message", "error", "detail", "msg") if body.get(name)), None
    )
    return _message(found) or (None if found is None else _text(found))


def _first_words(text: str) -> str | None:
    """A text on one line, without the markup of a page."""
    return " ".join(_TAG.sub(" ", text).split())[:_LONGEST_WORDS] or None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait: `retry-after-ms`, or `Retry-After` as seconds or as a date."""
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        seconds = _number(headers.get(name, "")) / scale
        if math.isfinite(seconds):
            return max(0.0, seconds)
    try:
        then = parsedate_to_datetime(headers["retry-after"])
    except (KeyError, TypeError, ValueError):
        return None
    then = then if then.tzinfo is not None else then.replace(tzinfo=UTC)
    return max(0.0, (then - datetime.now(UTC)).total_seconds())


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
