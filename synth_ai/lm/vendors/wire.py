"""Readers of what servers send, and the error for what has another shape. Pure.

A body is read as if it had the shape that its API documents. Reading one of another shape raises a
KeyError, a TypeError or the like on the way, which `malformed_as` turns into an error of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict, cast

from synth_ai.errors import MalformedAnswerError


class malformed_as:
    """Turn what goes wrong while data is read into an error that says what the data is not.

    Args:
        what: what is wrong, such as "The server's answer is not a chat completion".
        data: the data, which is shown in the error.

    Raises:
        MalformedAnswerError: for whatever reading the data raises.
    """

    __slots__ = ("_data", "_what")

    # A class and not a generator under `contextmanager`: it is entered for every event of a stream,
    # where a generator costs more than twice as much.
    def __init__(self, what: str, data: object) -> None:
        self._what = what
        self._data = data

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (AttributeError, IndexError, KeyError, TypeError, ValueError)):
            message = f"{self._what}: {self._data!r:.300}"
            raise MalformedAnswerError(message, body=self._data) from error


def require_str(value: object) -> str:
    """Return a value that must be a string, such as a delta that goes to the caller at once.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(value, str):
        raise TypeError(f"a text must be a string, not {type(value).__name__}")
    return value


class ModelEntry(TypedDict):
    """A model in a list of models."""

    id: str


class ModelList(TypedDict):
    """The answer to `GET /models`, which both APIs share."""

    data: list[ModelEntry]


def decode_model_names(body: Mapping[str, object]) -> list[str]:
    """Read the names in a list of models.

    Raises:
        MalformedAnswerError: the body is not a list of models.
    """
    models = cast("ModelList", body)
    with malformed_as("The server's answer is not a list of models", body):
        return [require_str(model["id"]) for model in models["data"]]
