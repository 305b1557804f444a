"""Requests to an engine that lives on a thread of its own, and the way back to the event loops that made them."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Callable
from itertools import count
from threading import Lock
from typing import Any, Generic, TypeVar

from synth_ai.engines.base import TokenDelta

_numbers = count()
Result = TypeVar("Result")


class Mailbox:
    """Runs functions on an event loop, from any thread, in the order they are posted.

    Many posts between two turns of the loop wake it once: an engine step that gives a token to each of hundreds of
    callers costs their loop one wake-up instead of hundreds.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # Weak, so that the table of mailboxes below keeps no loop alive.
        self._loop = weakref.ref(loop)
        self._posts: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        # No lock: a deque is safe to share, and a needless wake-up does no harm. A garbage collection may post from
        # the very thread that is posting, which a lock would not survive.
        self._awake = False
        self._closed = False

    def post(self, function: Callable[..., object], *args: Any) -> bool:
        """Have the loop call `function(*args)` soon; False when the loop is closed and never will."""
        self._posts.append((function, args))
        if self._closed:
            return False
        if not self._awake:
            self._awake = True
            if not self._wake():
                self._awake = False
                self._posts.clear()
                return False
        return True

    def _wake(self) -> bool:
        loop = self._loop()
        if loop is None:
            return False
        try:
            loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:
            return False
        return True

    def close(self) -> None:
        """Run what was posted and take no more; on the loop's thread, just before the loop is closed."""
        self._closed = True
        self._deliver()

    def _deliver(self) -> None:
        self._awake = False
        for _ in range(len(self._posts)):
            function, args = self._posts.popleft()
            function(*args)


_mailboxes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Mailbox] = (
    weakref.WeakKeyDictionary()
)
_mailboxes_lock = Lock()


def mailbox_of_running_loop() -> Mailbox:
    """The one mailbox of the event loop that runs here."""
    loop = asyncio.get_running_loop()
    with _mailboxes_lock:
        if loop not in _mailboxes:
            _mailboxes[loop] = Mailbox(loop)
        return _mailboxes[loop]


class Reply(Generic[Result]):
    """The way back from an engine's thread to the task that asked. Made on the caller's event loop."""

    def __init__(self) -> None:
        self._mailbox = mailbox_of_running_loop()
        self._results: asyncio.Queue[Result | BaseException] = asyncio.Queue()

    def put(self, result: Result | BaseException) -> None:
        """Hand a result, or the error that ends the call, to the caller; from any thread."""
        self._mailbox.post(self._results.put_nowait, result)

    async def next(self) -> Result:
        """The next result; raises the error that ended the call."""
        result = await self._results.get()
        if isinstance(result, BaseException):
            raise result
        return result


class Call(Reply[TokenDelta]):
    """One completion: what to generate, and where the deltas go.

    Attributes:
        id: unique in this process.
        prompt: token ids.
        params: the engine's own sampling parameters.
    """

    def __init__(self, prompt: list[int], params: Any) -> None:
        super().__init__()
        self.id = f"call-{next(_numbers)}"
        self.prompt = prompt
        self.params = params
