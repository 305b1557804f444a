"""Readers of what servers send, and the error for what has another shape. Pure.

A body is read as if it had the shape that its API documents. Reading one of another shape raises a
KeyError, a TypeError or the like on the way, which `malformed_as` turns into an error of ours.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Hashable, Mapping
from typing import TypedDict, cast

from synth_ai.content import new_call_id
from synth_ai.errors import MalformedAnswerError
from synth_ai.surrogates import mend_text

#: What reading data of another shape raises. Numbers may be too large for what counts with them,
#: and nested data too deep for what walks through it.
_READING_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)

#: More tokens than any server has generated; it also fits into 64 bits, as databases have them.
_MAX_COUNT = 2**53

#: Shows data in an error. Unlike `repr`, it stops before it has walked through all of it.
_short_repr = reprlib.Repr()
_short_repr.maxlevel = 4
_short_repr.maxstring = 200


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
        if isinstance(error, _READING_ERRORS):
            message = f"{self._what}: {_short_repr.repr(self._data):.300}"
            raise MalformedAnswerError(message, body=self._data) from error


def require_str(value: object) -> str:
    """Return a value that must be a string, such as a delta that goes to the caller at once.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(value, str):
        raise TypeError(f"a text must be a string, not {type(value).__name__}")
    return value


def require_json(value: object) -> str:
    """Return the JSON text of a call's arguments, which some servers send as an object.

    ::

        '{"to": "Ann"}'  ->  '{"to": "Ann"}'
        {"to": "Ann"}    ->  '{"to": "Ann"}'
        None             ->  ''
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def read_count(value: object) -> int:
    """Read a number of tokens; 0 for what cannot be one.

    An answer is worth more than its counts: a server that counts wrongly has answered all the same.
    """
    if isinstance(value, int) and 0 <= value <= _MAX_COUNT:
        return int(value)
    return 0


class HalfCharacters:
    """Joins the characters that a stream cuts in two, as JSON may spell one as two escapes.

    Attributes:
        found: whether there were any halves.
    """

    def __init__(self) -> None:
        self.found = False
        # The first halves that wait for the second, by the part of the answer that they are of.
        self._waiting: dict[Hashable, str] = {}

    def join(self, part: Hashable, text: str) -> str:
        """Return what can be handed out once more text of a part has come.

        ::

            "a\\ud83d"     ->  "a"
            "\\ude00b"     ->  "\N{GRINNING FACE}b", behind it
            "b\\ude00"     ->  "b\\ufffd": there is no first half

        A first half that is the last of its part is left out.

        Args:
            part: which text of the answer it is.
            text: what comes next of that text.
        """
        # Nearly all texts are whole.
        if text.isascii() and not self._waiting:
            return text

        text = self._waiting.pop(part, "") + text
        if "\ud800" <= text[-1:] <= "\udbff":
            self.found = True
            self._waiting[part] = text[-1]
            text = text[:-1]

        return mend_text(text)


class CallIds:
    """Gives each call of one answer an id that no other call of it has, and that is a string.

    An output names its call by this id, so that two calls of one id could not both be answered. The
    ids follow from those that the server gave: read again, the same answer has the same ids.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, given: object) -> str:
        """Return the id for the next call.

        ::

            "call_0"            ->  "call_0"
            "call_0", again     ->  "call_0_2"
            5                   ->  "5"
            None, "", ["call"]  ->  a new one
        """
        call_id = given
        if isinstance(given, int):
            call_id = str(given)
        if not isinstance(call_id, str) or not call_id.strip():
            call_id = new_call_id()

        unique_id = call_id
        number = 1
        while unique_id in self._taken:
            number += 1
            unique_id = f"{call_id}_{number}"

        self._taken.add(unique_id)
        return unique_id


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
