"""What a server says went wrong, as one of our errors: from a status, or from the body alone.

Those of the connection are in connection_errors.py.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from synth_ai import errors

_BY_STATUS: Mapping[int, type[errors.ServerError]] = {
    401: errors.AuthenticationFailedError,
    403: errors.AuthenticationFailedError,
    404: errors.NotFoundError,
    408: errors.TimedOutError,
    429: errors.RateLimitError,
}

# The `code`, or else the `type`, of an error body that came without a status:
# OpenAI's, but for InternalServerError, which is vLLM's.
_BY_CODE: Mapping[str, type[errors.ServerError]] = {
    "server_error": errors.OverloadedError,
    "internal_error": errors.OverloadedError,
    "InternalServerError": errors.OverloadedError,
    "rate_limit_exceeded": errors.RateLimitError,
    "insufficient_quota": errors.RateLimitError,
}

# OpenAI's codes, and llama.cpp's type, for a conversation that does not fit.
_TOO_LONG = frozenset(
    {"context_length_exceeded", "string_above_max_length", "exceed_context_size_error"}
)

# Where servers put the words of an error, the first that is not empty counts:
#   {"message": "Rate limit reached"}               OpenAI, inside of its `error`
#   {"error": "model not found, try pulling it"}    Ollama
#   {"detail": "Bad password"}                      FastAPI
#   {"msg": "field required"}                       an entry of FastAPI's `detail`
_MESSAGE_KEYS = ("message", "error", "detail", "msg")

# Characters of an error page that are looked at, and of a text in an error's `body`. A server may
# send as much as an answer may have.
_PAGE_LENGTH = 65_536

# Characters of a text or page that go into a message.
_MESSAGE_LENGTH = 300

# Characters of a header that are looked at: longer ones are neither a number nor a date.
_HEADER_LENGTH = 64

# A tag in an error page. A `<` inside of one begins another, so that no character is looked at
# twice, however many of them have no end:
#   <h1>Bad Gateway</h1><hr>  -> <h1>, </h1>, <hr>
#   <a <b>                    -> <b>
_TAG = re.compile(r"<[^<>]*>")

# The first and the last tag of an element that is not shown:
#   <style>h1 {color: red}</style>  -> <style>, </style>
#   <SCRIPT src="a.js">f(1)</SCRIPT >
#   <header>                        -> nothing: this is not <head>
_HIDDEN = re.compile(r"<(/?)(style|script|head)\b[^<>]*>", re.IGNORECASE)


def error_from_response(
    status: int, *, content: bytes, headers: Mapping[str, str], address: str
) -> errors.ServerError:
    """Make the error for a response with another status than success.

    Args:
        status: the HTTP status.
        content: the body, or its beginning.
        headers: those of the response, looked up whatever their case.
        address: where the request went, without query and credentials.
    """
    return error_from_status(
        status,
        body=_decode_error_body(content, headers.get("content-type", "")),
        headers=headers,
        address=address,
        default_message=f"Error code: {status}",
    )


def error_from_status(
    status: int,
    *,
    body: object,
    headers: Mapping[str, str],
    address: str,
    default_message: str,
) -> errors.ServerError:
    """Make the error for a response with another status than success.

    Args:
        status: the HTTP status.
        body: the decoded body, where it has an `error` the value of that; text if it is not JSON.
        headers: those of the response, looked up whatever their case.
        address: where the request went, without query and credentials.
        default_message: what to say if the body says nothing.
    """
    request_id = headers.get("x-request-id")
    message = f"{status}: {_find_message(body) or default_message}"
    if status == 404:
        message += f" (at {address}{_base_url_hint(address)})"
    if request_id:
        message += f" (request {request_id})"

    error_class = _narrow(_class_for_status(status), body)
    code = body.get("code") if isinstance(body, Mapping) else None
    return error_class(
        message,
        status_code=status,
        request_id=request_id,
        code=_to_text(code),
        body=body,
        retry_after=_read_retry_after(headers),
    )


def error_from_body(error: Mapping[str, object], context: str) -> errors.ServerError:
    """Make the error for an error body that came without a status: in a stream, or with a 200.

    Args:
        error: the body, such as `{"message": "...", "code": "rate_limit_exceeded"}`.
        context: where it was, for the beginning of the message.
    """
    code = error.get("code")
    status = _read_status(code)
    if status is not None:
        error_class = _class_for_status(status)
    else:
        # A code says more than a type, which is often a general "invalid_request_error".
        by_code = _BY_CODE.get(str(code))
        by_type = _BY_CODE.get(str(error.get("type")))
        error_class = by_code or by_type or errors.RejectedError

    error_class = _narrow(error_class, error)
    return error_class(
        f"{context}: {str(error.get('message'))[:_MESSAGE_LENGTH]}",
        status_code=status,
        code=_to_text(code),
        body=dict(error),
    )


def _decode_error_body(content: bytes, content_type: str) -> object:
    """Decode the body of an error: the `error` in it if it has one, else all of it.

    - `{"error": {"message": "No."}}` -> `{"message": "No."}`
    - `[{"error": "No."}]` -> the same
    - `<p>No.</p>` -> the same, as text
    """
    text = _decode_text(content, content_type).strip()
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return text

    if isinstance(data, dict):
        return data.get("error", data)
    return data


def _decode_text(content: bytes, content_type: str) -> str:
    """Decode bytes by the charset of their type, `text/html; charset=latin-1`; else as UTF-8."""
    header = Message()
    header["content-type"] = content_type
    charset = header.get_content_charset() or "utf-8"
    try:
        return content.decode(charset, "replace")
    except (LookupError, ValueError):
        # There is no such charset, or it is a codec of other things, such as `idna` or `zlib`.
        return content.decode("utf-8", "replace")


def _class_for_status(status: int) -> type[errors.ServerError]:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= 500:
        return errors.OverloadedError
    return errors.RejectedError


def _read_status(code: object) -> int | None:
    """Read the status that vLLM and others put into `code`; some gateways write it as a string."""
    text = str(code)
    if len(text) == 3 and text.isdecimal():
        return int(text)

    return None


def _narrow(error_class: type[errors.ServerError], body: object) -> type[errors.ServerError]:
    """Narrow a RejectedError down to a PromptTooLongError, if that is what the body says."""
    if error_class is errors.RejectedError and _is_too_long(body):
        return errors.PromptTooLongError

    return error_class


def _is_too_long(body: object) -> bool:
    """Tell whether an error body says that the conversation does not fit into the context."""
    if not isinstance(body, Mapping):
        return False
    for key in ("code", "type"):
        if str(body.get(key)) in _TOO_LONG:
            return True

    # vLLM and others say it in words alone.
    return "maximum context length" in str(body.get("message"))


def _base_url_hint(address: str) -> str:
    """Name the likeliest reason why an address was not found."""
    if "/v1" in urlsplit(address).path:
        return ""

    return "; most servers have their API under /v1, which belongs into base_url"


def _find_message(body: object) -> str | None:
    """Find the words in an error body, however they are wrapped.

    `{"error": {"message": "No."}}`, `[{"error": "No."}]`, `"<p>No.</p>"` -> `No.`
    """
    if isinstance(body, str):
        return _strip_markup(body)
    if isinstance(body, list) and body:
        # Gemini sends a list with one error in it, FastAPI one of all that it found.
        return _find_message(body[0])
    if not isinstance(body, dict):
        return None

    for key in _MESSAGE_KEYS:
        words = body.get(key)
        if words:
            return _find_message(words) or str(words)[:_MESSAGE_LENGTH]

    return None


def _strip_markup(text: str) -> str | None:
    """Put a text or page on one line, without markup and cut to length."""
    shown = _drop_hidden(text[:_PAGE_LENGTH])
    words = _TAG.sub(" ", shown).split()
    return " ".join(words)[:_MESSAGE_LENGTH] or None


def _drop_hidden(page: str) -> str:
    """Drop the elements of a page that are not shown; one without an end stays.

    - `<style>h1 {color: red}</style>Oops` -> ` Oops`
    - `<style>h1 {}` -> `<style>h1 {}`
    """
    tags = list(_HIDDEN.finditer(page))
    last_ends = {}
    for tag in tags:
        if tag[1]:
            last_ends[tag[2].lower()] = tag.end()

    shown = []
    shown_from = 0
    # The name of the element that the tags are inside of.
    inside = None
    for tag in tags:
        name = tag[2].lower()
        is_end = bool(tag[1])
        if inside is None and not is_end and tag.end() < last_ends.get(name, 0):
            shown.append(page[shown_from : tag.start()])
            inside = name
        elif is_end and name == inside:
            shown_from = tag.end()
            inside = None

    shown.append(page[shown_from:])
    return " ".join(shown)


def _to_text(value: object) -> str | None:
    if value is None:
        return None

    return str(value)


def _read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Read how many seconds the server asks to wait.

    - `retry-after-ms: 250` -> 0.25 (OpenAI's; it is more exact, so it comes first)
    - `retry-after: 7` -> 7.0
    - `retry-after: Wed, 21 Oct 2026 07:28:00 GMT` -> the seconds until then
    - `retry-after: soon` -> None
    """
    milliseconds = _read_number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return max(0.0, milliseconds / 1000.0)

    retry_after = headers.get("retry-after")
    if retry_after is not None and len(retry_after) > _HEADER_LENGTH:
        return None
    seconds = _read_number(retry_after)
    if seconds is not None:
        return max(0.0, seconds)

    if retry_after is None:
        return None
    try:
        then = parsedate_to_datetime(retry_after)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None

    # A date with the zone "-0000" has none in Python; in HTTP all dates are UTC.
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)

    return max(0.0, (then - datetime.now(UTC)).total_seconds())


def _read_number(text: str | None) -> float | None:
    """Read a finite number; None for anything else, `nan` and `inf` included."""
    if text is None or len(text) > _HEADER_LENGTH:
        return None

    try:
        number = float(text)
    except ValueError:
        return None

    return number if math.isfinite(number) else None
