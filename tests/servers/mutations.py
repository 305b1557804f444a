"""Answers that are broken at random, for tests that only our own errors come of them."""

from __future__ import annotations

import asyncio
import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from synth_ai import LM
from synth_ai.errors import SynthAIError

FOLDER = Path(__file__).parent / "services"

#: What takes the place of a value: of another type, too large, too deep, empty.
ODD: tuple[Callable[[], Any], ...] = (
    lambda: None,
    lambda: "",
    lambda: "x",
    lambda: "\ud800",
    lambda: "a\n\x1b[2J",
    lambda: "..",
    lambda: 0,
    lambda: -1,
    lambda: 10**400,
    lambda: 1.5,
    lambda: True,
    lambda: False,
    list,
    dict,
    lambda: [None],
    lambda: [[]],
    lambda: ["x", 1],
    lambda: {"a": None},
    lambda: {"type": "x"},
    lambda: {"type": []},
    lambda: {"type": "message"},
    lambda: {"type": "reasoning"},
    lambda: {"type": "function_call"},
    lambda: {"type": "custom_tool_call", "call_id": 1, "name": "f", "input": {}},
    lambda: {"message": "broken", "code": {"a": []}},
    lambda: nest(90),
    lambda: nest(300),
)


def nest(depth: int) -> Any:
    """A list in a list, and so on."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def load_answers() -> list[tuple[str, list[Any], bool]]:
    """The answers to break: the API, the bodies, and whether they are a stream's events."""
    answers = []
    for path in sorted(FOLDER.glob("*.json")):
        service = json.loads(path.read_text(encoding="utf-8"))
        bodies = [service["answer"]] if "answer" in service else service["events"]
        answers.append((service["api"], bodies, "events" in service))
    return answers


def mutate(chooser: random.Random, bodies: list[Any]) -> list[Any]:
    """Break bodies in one to three places: values replaced, left out, repeated or renamed."""
    broken: Any = copy.deepcopy(bodies)
    for _ in range(chooser.randint(1, 3)):
        holder, key = chooser.choice(list(_places(broken)))
        action = chooser.random()
        if action < 0.6:
            holder[key] = chooser.choice(ODD)()
        elif action < 0.75:
            del holder[key]
        elif action < 0.9 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        elif isinstance(holder, dict):
            holder[f"{key}_"] = holder.pop(key)
        if not broken:
            broken.append({})
    return list(broken)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in nested data: what holds it, and its key there."""
    places: list[tuple[Any, Any]] = []
    holders = [value]
    while holders:
        holder = holders.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            places.append((holder, key))
            if isinstance(holder[key], (dict, list)) and holder[key]:
                holders.append(holder[key])
    return places


def encode(bodies: list[Any], is_stream: bool, chooser: random.Random) -> tuple[str, bytes]:
    """Write bodies as they go over the wire, now and then cut off; and their content type."""
    if is_stream:
        texts = [body if body == "[DONE]" else json.dumps(body) for body in bodies]
        text = "".join(f"data: {each}\n\n" for each in texts)
    else:
        text = json.dumps(bodies[0])

    if chooser.random() < 0.05:
        text = text[: chooser.randrange(len(text) + 1)]
    return "text/event-stream" if is_stream else "application/json", text.encode()


class BrokenServer:
    """A server on a socket that answers every POST with the same bytes.

    Attributes:
        answer: the content type and the body.
        base_url: where it is, once it has started.
    """

    def __init__(self) -> None:
        self.answer = ("application/json", b"{}")
        self.base_url = ""
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> BrokenServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.base_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = 0
                for line in head.split(b"\r\n"):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                await reader.readexactly(length)
                content_type, body = self.answer
                writer.write(
                    f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n"
                    f"content-length: {len(body)}\r\n\r\n".encode()
                    + body
                )
                await writer.drain()
        except (asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def take_broken_answer(
    lms: dict[str, LM], server: BrokenServer, answers: list[tuple[str, list[Any], bool]], seed: int
) -> str:
    """Call once with an answer that is broken by this seed, and use what came of it.

    Args:
        lms: an LM for each API.
        server: what they call.
        answers: what to break.
        seed: decides how.

    Returns:
        "read", or the name of the library's error. Any other error is raised.
    """
    chooser = random.Random(seed)
    api, bodies, is_stream = chooser.choice(answers)
    server.answer = encode(mutate(chooser, bodies), is_stream, chooser)
    lm = lms[api]
    lm.reset()
    try:
        if is_stream:
            async with lm.stream_async("Hi") as stream:
                async for _ in stream:
                    pass
            response = stream.response
        else:
            response = await lm.respond_async("Hi")

        repr(response), str(response), response._repr_markdown_()
        ids = [call["id"] for call in response.tool_calls or ()]
        assert len(set(ids)) == len(ids)
        outputs = dict.fromkeys(ids, "sunny") or None
        words = [] if ids else ["And now?"]
        # Now and then on the other API, which reads the same turn in its own way.
        next_lm = lms[chooser.choice(sorted(lms))]
        await next_lm.respond_async(
            *words, tool_outputs=outputs, previous_response_id=response.response_id
        )
        str(lm.tree())
    except SynthAIError as error:
        str(error), repr(error)
        return type(error).__name__
    return "read"
