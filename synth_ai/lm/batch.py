"""Many independent calls at once, with their results in order."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, TypeAlias, TypeVar

from synth_ai.errors import MissingExtraError, RequestError

T = TypeVar("T")

BatchPrompt: TypeAlias = str | tuple[str, str] | Sequence[Mapping[str, Any]] | Mapping[str, Any]


def as_calls(prompts: Sequence[BatchPrompt]) -> list[tuple[tuple[str, ...], dict[str, Any]]]:
    """The prompts of a batch as the (strings, named arguments) of a call each.

    Raises:
        RequestError: they are no list, or one of them is none of the ways that a prompt may be written.
    """
    if isinstance(prompts, (str, bytes, Mapping)) or not isinstance(prompts, Iterable):
        raise RequestError(f"A batch takes a list of prompts, not {type(prompts).__name__}.")
    return [as_arguments(prompt) for prompt in prompts]


def as_arguments(prompt: BatchPrompt) -> tuple[tuple[str, ...], dict[str, Any]]:
    """One prompt of a batch as the (strings, named arguments) of a call.

    Raises:
        RequestError: it is none of the ways that a prompt may be written.
    """
    if isinstance(prompt, str):
        return (prompt,), {}
    if isinstance(prompt, Mapping):
        return (), dict(prompt)
    if isinstance(prompt, tuple) and all(isinstance(text, str) for text in prompt):
        return prompt, {}
    if (
        isinstance(prompt, Sequence)
        and prompt
        and all(isinstance(message, Mapping) for message in prompt)
    ):
        return (), {"messages": prompt}
    raise RequestError(
        "A prompt of a batch is a string, a (system, user) pair, a list of messages or a dict of arguments, "
        f"not {prompt!r:.200}."
    )


def check_progress(progress: bool) -> None:
    """Refuse to show a progress bar where there is nothing to draw it with.

    Raises:
        MissingExtraError: tqdm is not installed.
    """
    if progress and find_spec("tqdm") is None:
        raise MissingExtraError(
            'progress=True draws a bar with tqdm: pip install "synth-ai[progress]", or leave the option out.'
        )


async def gather(
    calls: Sequence[Coroutine[Any, Any, T]],
    *,
    return_exceptions: bool = False,
    progress: bool = False,
) -> list[T | BaseException]:
    """Run all calls at once and wait for every one, so that a failure does not throw the others' answers away.

    Args:
        return_exceptions: return errors in their places instead of raising the first.
        progress: show a progress bar, for which `check_progress` has passed.
    """
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        if progress:
            await _show(tasks)
        results = await asyncio.gather(*tasks, return_exceptions=True)
    except BaseException:
        for task in tasks:
            task.cancel()
        raise
    if not return_exceptions:
        for number, result in enumerate(results):
            if isinstance(result, BaseException):
                result.add_note(
                    f"This was prompts[{number}]; return_exceptions=True keeps the answers to the others."
                )
                raise result
    return results


async def _show(tasks: Sequence[asyncio.Future[Any]]) -> None:
    from tqdm.auto import tqdm

    with tqdm(total=len(tasks), unit="call") as bar:
        for task in tasks:
            task.add_done_callback(lambda _: bar.update())
        await asyncio.wait(tasks)
