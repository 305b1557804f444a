"""Many independent calls at once, with their results in order."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, TypeAlias, TypeGuard, TypeVar

from synth_ai.errors import MissingExtraError, RequestError

T = TypeVar("T")

BatchPrompt: TypeAlias = str | tuple[str, str] | Sequence[Mapping[str, Any]] | Mapping[str, Any]
"""A user's message, a (system, user) pair, a list of messages, or a dict of a call's arguments."""

BatchCall: TypeAlias = tuple[tuple[str, ...], dict[str, Any]]
"""The strings and the named arguments of one call."""


def as_calls(prompts: Sequence[BatchPrompt]) -> list[BatchCall]:
    """Read the prompts of a batch into the arguments of a call each.

    Raises:
        RequestError: they are not a list, or one of them is not a prompt.
    """
    # A single prompt can be iterated over, too.
    is_list = isinstance(prompts, Iterable) and not isinstance(prompts, (str, bytes, Mapping))
    if not is_list:
        raise RequestError(f"A batch must be a list of prompts, not {type(prompts).__name__}.")

    return [as_arguments(prompt) for prompt in prompts]


def as_arguments(prompt: BatchPrompt) -> BatchCall:
    """Read one prompt of a batch into the arguments of a call.

    ::

        "Hi"                                 ->  ("Hi",), {}
        ("Be terse.", "Hi")                  ->  ("Be terse.", "Hi"), {}
        [{"role": "user", "content": "Hi"}]  ->  (), {"messages": [...]}
        {"user_message": "Hi", "seed": 1}    ->  (), {"user_message": "Hi", "seed": 1}

    Raises:
        RequestError: it is none of these.
    """
    if isinstance(prompt, str):
        return (prompt,), {}
    if isinstance(prompt, Mapping):
        return (), dict(prompt)
    if _is_tuple_of_strings(prompt):
        return prompt, {}
    if _is_list_of_messages(prompt):
        return (), {"messages": prompt}

    raise RequestError(
        "A prompt of a batch must be a string, a (system, user) pair, a list of messages or a dict "
        f"of arguments, not {prompt!r:.200}."
    )


def _is_tuple_of_strings(prompt: object) -> TypeGuard[tuple[str, ...]]:
    if not isinstance(prompt, tuple):
        return False
    return all(isinstance(text, str) for text in prompt)


def _is_list_of_messages(prompt: object) -> TypeGuard[Sequence[Mapping[str, object]]]:
    # An empty list has nothing to send.
    if not isinstance(prompt, Sequence) or not prompt:
        return False
    return all(isinstance(message, Mapping) for message in prompt)


def check_progress(progress: bool) -> None:
    """Refuse to show a progress bar if there is nothing to draw it with.

    Raises:
        MissingExtraError: tqdm is not installed.
    """
    if not progress:
        return
    if find_spec("tqdm") is None:
        raise MissingExtraError(
            'progress=True draws a bar with tqdm: pip install ".[progress]" in a clone of '
            "synth_ai, or leave the option out."
        )


async def gather(
    calls: Sequence[Coroutine[Any, Any, T]],
    *,
    return_exceptions: bool = False,
    progress: bool = False,
) -> list[T | BaseException]:
    """Run all calls at once and wait for every one, so that a failure loses no other's answer.

    Args:
        calls: the calls.
        return_exceptions: return each error as the result of its call, instead of raising the
            first.
        progress: show a progress bar, for which `check_progress` has passed.

    Raises:
        BaseException: the first error in the order of the calls, with a note which call it was.
    """
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        if progress:
            await _wait_with_bar(tasks)
        results = await asyncio.gather(*tasks, return_exceptions=True)
    except BaseException:
        # The batch itself is cancelled, or the bar cannot be drawn.
        for task in tasks:
            task.cancel()
        raise

    if not return_exceptions:
        _raise_first_error(results)
    return results


def _raise_first_error(results: Sequence[object]) -> None:
    for number, result in enumerate(results):
        if isinstance(result, BaseException):
            result.add_note(
                f"This was prompts[{number}]; "
                "return_exceptions=True keeps the answers to the others."
            )
            raise result


async def _wait_with_bar(tasks: Sequence[asyncio.Future[Any]]) -> None:
    from tqdm.auto import tqdm

    with tqdm(total=len(tasks), unit="call") as bar:
        for task in tasks:
            task.add_done_callback(lambda _: bar.update())
        await asyncio.wait(tasks)
