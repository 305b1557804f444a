"""Every error this library raises on purpose, in one tree.

::

    SynthAIError
    ├── ConfigurationError (ValueError)      the LM, an engine or the environment is set up wrongly
    │   ├── OptionError                      an option is unknown, contradictory or out of range
    │   ├── SettingError                     an environment variable has a bad value
    │   ├── RoutingError                     no API can be chosen for this model name
    │   ├── MissingKeyError                  a hosted call needs an API key and there is none
    │   └── MissingExtraError (ImportError)  an optional package is not installed
    ├── RequestError (ValueError)            this call cannot be made with these arguments
    │   ├── UnknownResponseError             nobody has the turn of `previous_response_id`
    │   ├── MissingToolOutputError           the last turn's tool calls are not all answered
    │   ├── ToolError                        a tool's name or schema cannot be used
    │   │   └── ToolDeniedError              `approve=` did not let a tool run
    │   └── ContextLengthError               the conversation is longer than the model's context
    ├── ServerError                          a server answered with an error, or not at all
    │   ├── ConnectionFailedError            no answer: refused, reset, cut off
    │   │   └── TimedOutError (TimeoutError) no answer in time
    │   ├── AuthenticationFailedError        401, 403
    │   ├── RejectedError                    400, 409, 413, 422: the server refuses this request
    │   │   └── PromptTooLongError           the prompt is too long (a ContextLengthError too)
    │   ├── NotFoundError                    404: no such model, response or route
    │   │   └── ForgottenResponseError       the server no longer has the turn to continue from
    │   ├── RateLimitError                   429
    │   ├── OverloadedError                  500 and above
    │   ├── ResponseTooLargeError            the answer is longer than `max_response_bytes`
    │   └── MalformedAnswerError             the answer is not what the API documents
    ├── EngineError                          the engine in this process, or behind a token endpoint
    │   ├── EngineStartError                 it could not be loaded
    │   ├── EngineDeadError                  it stopped; calls in flight fail with this
    │   └── EngineRequestError               it refused one request and serves the others
    ├── SpendingCapError                     the calls have cost all that `max_cost` allows
    ├── StructuredOutputError                the answer does not fit `response_model`
    ├── ToolRunError                         a tool failed, or called for too many rounds
    │   └── ApprovalError                    `approve=` failed, or did not say yes or no
    └── StoreError                           a turn could not be stored or read
        ├── StoreUnavailableError            the file cannot be used now: path, rights, disk, lock
        ├── StoreFormatError                 the file is not a store, or one of a newer version
        ├── StoreCorruptError                the file is damaged
        ├── StoreConflictError               an id is in use, or other turns continue from it
        └── StoreImportError                 an exported file is cut off or malformed

Catch wide (`SynthAIError`) or narrow. An error that comes from another library has it as its
`__cause__`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

__all__ = [
    "ApprovalError",
    "AuthenticationFailedError",
    "ConfigurationError",
    "ConnectionFailedError",
    "ContextLengthError",
    "EngineDeadError",
    "EngineError",
    "EngineRequestError",
    "EngineStartError",
    "ForgottenResponseError",
    "MalformedAnswerError",
    "MissingExtraError",
    "MissingKeyError",
    "MissingToolOutputError",
    "NotFoundError",
    "OptionError",
    "OverloadedError",
    "PromptTooLongError",
    "RateLimitError",
    "RejectedError",
    "RequestError",
    "ResponseTooLargeError",
    "RoutingError",
    "ServerError",
    "SettingError",
    "SpendingCapError",
    "StoreConflictError",
    "StoreCorruptError",
    "StoreError",
    "StoreFormatError",
    "StoreImportError",
    "StoreUnavailableError",
    "StructuredOutputError",
    "SynthAIError",
    "TimedOutError",
    "ToolDeniedError",
    "ToolError",
    "ToolRunError",
    "UnknownResponseError",
]


class SynthAIError(Exception):
    """Base of every error that synth_ai raises on purpose.

    Attributes:
        run: the `ToolRun` so far, if the error ended a run of tools; None otherwise.
    """

    # The run sets it on the instance. Any, here and below, so that this module stands below every
    # other one.
    run: Any = None


class ConfigurationError(SynthAIError, ValueError):
    """The LM, an engine or the environment is set up wrongly; nothing was sent."""


class OptionError(ConfigurationError):
    """An option is unknown, contradicts another one, or is out of range."""


class SettingError(ConfigurationError):
    """An environment variable has a value that cannot be used."""


class RoutingError(ConfigurationError):
    """No API can be chosen for this model name; the message lists the ways out."""


class MissingKeyError(ConfigurationError):
    """A call to a hosted API needs a key and none was given."""


class MissingExtraError(ConfigurationError, ImportError):
    """An optional package is needed; the message names the extra that installs it."""


class RequestError(SynthAIError, ValueError):
    """This call cannot be made with these arguments.

    Nothing was sent, unless a server itself found the conversation too long.
    """


class UnknownResponseError(RequestError):
    """Neither the store nor a server has the turn that `previous_response_id` names."""


class MissingToolOutputError(RequestError):
    """The turn to continue from asked for tool calls that have no output yet.

    Attributes:
        call_ids: the ids of the calls that have no output.
    """

    def __init__(self, message: str, *, call_ids: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.call_ids = tuple(call_ids)


class ToolError(RequestError):
    """A tool's name or schema cannot be used on this API."""


class ToolDeniedError(ToolError):
    """`approve=` did not let a tool run; the message is the reason, which the model is told.

    It is never raised: the result of the call has it as its `error`.
    """


class ContextLengthError(RequestError):
    """The conversation leaves no room in the model's context.

    If a server says so, the error is a `PromptTooLongError`.
    """


class ServerError(SynthAIError):
    """A server answered with an error, or not at all.

    Attributes:
        status_code: the HTTP status, or None when there was no answer.
        request_id: the server's id of the request, to quote when asking for help.
        code: the server's own error code, such as `"previous_response_not_found"`.
        body: the decoded error body (a dict where it was JSON), or the answer that could not be
            read. Of a long one it is the beginning: a million characters.
        retry_after: seconds that the server asks to wait before the next attempt.
        attempts: how many times the call was sent; this is the error of the last attempt.
    """

    # LM sets it on the instance, once it is done with trying.
    attempts = 1

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        request_id: str | None = None,
        code: str | None = None,
        body: Any = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.request_id = request_id
        self.code = code
        self.body = _BodyReader().read(body)
        self.retry_after = retry_after


class ConnectionFailedError(ServerError):
    """The server could not be reached, or the connection broke."""


class TimedOutError(ConnectionFailedError, TimeoutError):
    """A call took too long. The message names the phase, and whether the call was ever sent.

    Attributes:
        response: the answer, if it had come and only the store took too long; None otherwise.
    """

    response: Any = None


class AuthenticationFailedError(ServerError):
    """The key is missing, wrong, or not allowed to do this (401, 403)."""


class RejectedError(ServerError):
    """The server refuses this request as it is (400, 409, 413, 422)."""


class PromptTooLongError(RejectedError, ContextLengthError):
    """The server says that the conversation is longer than the model's context."""


class NotFoundError(ServerError):
    """The server has no such model, response or route (404)."""


class ForgottenResponseError(NotFoundError):
    """The server cannot continue from this response: it expired, was deleted, or never stored."""


class RateLimitError(ServerError):
    """Too many requests or tokens, or no quota left (429)."""


class OverloadedError(ServerError):
    """The server failed on its side (500 and above)."""


class ResponseTooLargeError(ServerError):
    """The answer is longer than `LM(max_response_bytes=...)` allows; the rest was not read."""


class MalformedAnswerError(ServerError):
    """The answer is not what the API documents: cut off, not JSON, or of the wrong shape."""


class EngineError(SynthAIError):
    """The engine that runs the model failed."""


class EngineStartError(EngineError):
    """The engine could not be loaded."""


class EngineDeadError(EngineError):
    """The engine has stopped; every call in flight fails with this error."""


class EngineRequestError(EngineError):
    """The engine refused or failed one request; it still serves the others."""


class SpendingCapError(SynthAIError):
    """The calls so far have cost all that `max_cost` allows, so this one was not sent.

    Attributes:
        max_cost: the cap, in US dollars.
        cost: what the calls have cost, in US dollars; None if that is not known.
    """

    def __init__(
        self, message: str, *, max_cost: float | None = None, cost: float | None = None
    ) -> None:
        super().__init__(message)
        self.max_cost = max_cost
        self.cost = cost


class StructuredOutputError(SynthAIError):
    """The model's answer does not fit the `response_model`.

    Attributes:
        response: the whole response, so that its text and usage are not lost.
        responses: the responses of all tries, oldest first; several if the model was asked again,
            see `reask=`. The last one is `response`.
    """

    def __init__(self, message: str, *, response: Any = None) -> None:
        super().__init__(message)
        self.response = response
        self.responses: tuple[Any, ...] = (response,)


class ToolRunError(SynthAIError):
    """A run of tools ended early: a tool failed, or the model called tools for too many rounds.

    Attributes:
        response: the response whose calls were being answered.
        steps: the rounds so far, the failed one included, oldest first.
    """

    def __init__(self, message: str, *, response: Any = None, steps: Iterable[Any] = ()) -> None:
        super().__init__(message)
        self.response = response
        self.steps = tuple(steps)


class ApprovalError(ToolRunError):
    """`approve=` raised an error, or returned what is no decision; its call was not run.

    What it raised is the `__cause__`.
    """


class StoreError(SynthAIError):
    """A turn could not be stored or read.

    Attributes:
        response: the answer that could not be stored, so that it is not lost; None otherwise.
    """

    response: Any = None


class StoreUnavailableError(StoreError):
    """The store's file cannot be opened, read or written now; its content is untouched."""


class StoreFormatError(StoreError):
    """The file is not a store of turns, or a newer version wrote it; it is untouched."""


class StoreCorruptError(StoreError):
    """The store's file is damaged; the message says how to save what is left."""


class StoreConflictError(StoreError):
    """The change conflicts with what is stored.

    An id is in use already, or other turns continue from the turn.
    """


class StoreImportError(StoreError):
    """A file of exported turns is cut off, malformed or contradicts itself.

    Nothing of it was stored.
    """


class _BodyReader:
    """Copies the beginning of a body for an error.

    A server may send a body of any length, and an error may be kept for long.
    """

    # Characters of all texts together, and how many of them an entry of a list or dict counts for.
    _MAX_LENGTH = 2**20
    _ENTRY_LENGTH = 16

    # Levels of lists and dicts. JSON of servers has fewer; this is for what goes round in a circle.
    _MAX_DEPTH = 200

    def __init__(self) -> None:
        self._length_left = self._MAX_LENGTH

    def read(self, value: object, depth: int = 0) -> object:
        """Copy a value as far as there is room for it."""
        if isinstance(value, (str, bytes)):
            beginning = value[: self._length_left]
            self._length_left -= len(beginning)
            return beginning

        if depth >= self._MAX_DEPTH:
            return None if isinstance(value, (Mapping, list)) else value
        if isinstance(value, Mapping):
            return self._read_dict(value, depth)
        if isinstance(value, list):
            return self._read_list(value, depth)
        return value

    def _read_dict(self, body: Mapping[Any, object], depth: int) -> dict[Any, object]:
        copy = {}
        for name, inner in body.items():
            if not self._has_room():
                break
            copy[self.read(name)] = self.read(inner, depth + 1)
        return copy

    def _read_list(self, body: list[object], depth: int) -> list[object]:
        copy = []
        for inner in body:
            if not self._has_room():
                break
            copy.append(self.read(inner, depth + 1))
        return copy

    def _has_room(self) -> bool:
        """Take the room of one entry, if there is any room left."""
        self._length_left = max(0, self._length_left - self._ENTRY_LENGTH)
        return self._length_left > 0


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Suggest the nearest known name, for the end of an error message.

    Returns:
        A sentence with a space before it, or an empty string if no known name is near.
    """
    nearest = get_close_matches(name, list(known), n=1, cutoff=0.6)
    if not nearest:
        return ""

    return f" Did you mean {nearest[0]!r}?"
