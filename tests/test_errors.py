"""The tree of errors: what its picture says is true, and callers can catch wide or narrow."""

from __future__ import annotations

import inspect
import pickle

import pytest

from synth_ai import errors
from synth_ai.errors import SynthAIError, did_you_mean

CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, Exception)
]


def drawn_tree() -> dict[str, str | None]:
    """Each class in the module's picture, and the one it hangs under."""
    parents: dict[str, str | None] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").split("::\n\n")[1].split("\n\n")[0].splitlines():
        name = line.lstrip(" │├└─").split()[0]
        depth = (len(line) - len(line.lstrip(" │├└─")) - 4) // 4
        path = [*path[:depth], name]
        parents[name] = path[depth - 1] if depth else None
    return parents


def test_the_picture_is_the_tree() -> None:
    """The hierarchy in the docstring is what people program against."""
    actual = {
        kind.__name__: kind.__bases__[0].__name__ for kind in CLASSES if kind is not SynthAIError
    }
    assert drawn_tree() == {"SynthAIError": None, **actual}


def test_everything_is_exported_and_explained() -> None:
    """Each class is public and says when it happens."""
    assert sorted(kind.__name__ for kind in CLASSES) == sorted(errors.__all__)
    assert all(inspect.getdoc(kind) for kind in CLASSES)


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.OptionError, ValueError),
        (errors.SettingError, ValueError),
        (errors.RequestError, ValueError),
        (errors.MissingExtraError, ImportError),
        (errors.TimedOutError, TimeoutError),
        (errors.TimedOutError, errors.ConnectionFailedError),
        (errors.ForgottenResponseError, errors.NotFoundError),
    ],
)
def test_python_s_own_classes_catch_them_too(
    kind: type[Exception], builtin: type[Exception]
) -> None:
    """Code that expects a ValueError, an ImportError or a TimeoutError gets one."""
    assert issubclass(kind, builtin)
    assert issubclass(kind, SynthAIError)


def test_a_server_error_keeps_what_the_server_said() -> None:
    """Its attributes are there to program with, and survive a process boundary."""
    error = errors.RateLimitError(
        "slow",
        status_code=429,
        request_id="req_1",
        code="rate_limit_exceeded",
        body={"a": 1},
        retry_after=2.0,
    )
    copied = pickle.loads(pickle.dumps(error))
    assert type(copied) is errors.RateLimitError
    assert str(copied) == "slow"
    assert vars(copied) == vars(error)
    assert vars(error) == {
        "status_code": 429,
        "request_id": "req_1",
        "code": "rate_limit_exceeded",
        "body": {"a": 1},
        "retry_after": 2.0,
    }


def test_a_missing_tool_output_error_names_the_calls() -> None:
    """The ids are there to answer to."""
    error = errors.MissingToolOutputError("two", call_ids=["call_1", "call_2"])
    assert pickle.loads(pickle.dumps(error)).call_ids == error.call_ids == ("call_1", "call_2")


def test_did_you_mean_names_the_nearest_or_nothing() -> None:
    """A hint that is far off would mislead."""
    assert did_you_mean("temprature", ["temperature", "top_p"]) == " Did you mean 'temperature'?"
    assert did_you_mean("xyz", ["temperature", "top_p"]) == ""
