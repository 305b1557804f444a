"""The way between an engine's thread and the event loops of its callers, in both directions."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Callable
from itertools import count
from threading import Lock
from typing import Any, Generic, TypeVar, TypeVarTuple

from synth_ai.engines.base import TokenDelta

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class Mailbox:
    """Runs functions on an event loop, from any thread, in the order they are posted.

    Many posts between two turns of the loop wake it once: an engine step that gives a token to
    each of hundreds of callers costs their loop one wake-up instead of hundreds.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # Weak, so that the table of mailboxes below keeps no loop alive.
        self._loop = weakref.ref(loop)
        self._posts: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        # No lock: a deque is safe to share, and a needless wake-up does no harm. A garbage
        # collection may post from the very thread that is posting, which a lock would not survive.
        self._delivery_pending = False
        self._closed = False

    def post(self, function: Callable[[*Arguments], object], *arguments: *Arguments) -> bool:
        """Have the loop call `function(*arguments)` soon.

        Returns:
            False when the loop is closed, or the mailbox is, and the call may never be made.
        """
        # Posted first: what comes while the mailbox is closing may still be run by `close`.
        self._posts.append((function, arguments))
        if self._closed:
            return False
        if self._delivery_pending:
            return True

        # Set before the wake-up: the loop may deliver, and unset it, before this thread goes on.
        self._delivery_pending = True
        if self._wake_loop():
            return True

        self._delivery_pending = False
        self._posts.clear()
        return False

    def close(self) -> None:
        """Run what was posted and take no more.

        To be called on the loop's thread, just before the loop is closed.
        """
        self._closed = True
        self._deliver()

    def _wake_loop(self) -> bool:
        """Have the loop deliver what was posted; return False when the loop is closed."""
        loop = self._loop()
        if loop is None:
            return False

        try:
            loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:
            return False
        return True

    def _deliver(self) -> None:
        # Unset first: what is posted from here on wakes the loop again.
        self._delivery_pending = False
        # Only what is here now, so that functions that post do not keep the loop from its work.
        for _ in range(len(self._posts)):
            function, arguments = self._posts.popleft()
            function(*arguments)


_mailboxes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Mailbox] = (
    weakref.WeakKeyDictionary()
)
_mailboxes_lock = Lock()


def get_mailbox() -> Mailbox:
    """Return the one mailbox of the running event loop."""
    loop = asyncio.get_running_loop()
    with _mailboxes_lock:
        if loop not in _mailboxes:
            _mailboxes[loop] = Mailbox(loop)
        return _mailboxes[loop]


class ResultQueue(Generic[Result]):
    """The results of a call, from an engine's thread to the task that made the call.

    To be made on the caller's event loop.
    """

    def __init__(self) -> None:
        self._mailbox = get_mailbox()
        self._results: asyncio.Queue[Result | BaseException] = asyncio.Queue()

    def put(self, result: Result | BaseException) -> None:
        """Give the caller a result, or the error that ends the call; from any thread."""
        self._mailbox.post(self._results.put_nowait, result)

    async def next(self) -> Result:
        """Wait for the next result.

        Raises:
            BaseException: the error that ended the call.
        """
        result = await self._results.get()
        if isinstance(result, BaseException):
            raise result
        return result


_call_numbers = count()


class EngineCall(ResultQueue[TokenDelta]):
    """One completion: what to generate, and the queue of its deltas.

    Attributes:
        id: unique in this process.
        prompt: token ids.
        params: the sampling parameters, in the engine's own type.
    """

    def __init__(self, prompt: list[int], params: Any) -> None:
        super().__init__()
        self.id = f"call-{next(_call_numbers)}"
        self.prompt = prompt
        self.params = params
