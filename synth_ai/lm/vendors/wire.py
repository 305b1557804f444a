"""What every body is read with: a shape that is not the API's is an error of the server's. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synth_ai.errors import MalformedAnswerError


class expecting:
    """Turn what goes wrong on data of another shape into our error.

    Args:
        what: what the data is not, as in "The server's answer is no chat completion".
        data: the data.

    Raises:
        MalformedAnswerError: for whatever reading the data raises.
    """

    __slots__ = ("_data", "_what")

    def __init__(self, what: str, data: Any) -> None:
        self._what = what
        self._data = data

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (AttributeError, IndexError, KeyError, TypeError, ValueError)):
            raise MalformedAnswerError(
                f"{self._what}: {self._data!r:.300}", body=self._data
            ) from error


def text(value: Any) -> str:
    """A value that has to be a text.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, str):
        raise TypeError(f"a text is a string, not {type(value).__name__}")
    return value


def model_names(data: Mapping[str, Any]) -> list[str]:
    """The names in a list of models.

    Raises:
        MalformedAnswerError: the body is no list of models.
    """
    with expecting("The server's answer is no list of models", data):
        return [text(model["id"]) for model in data["data"]]
