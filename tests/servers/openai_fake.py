"""A stand-in for OpenAI's service on a loopback port: its errors, its store, its events.

A test tells it what to answer (`enqueue`, `respond_with`) and reads what it was sent (`requests`).
Every create body is checked against the parameter types of the installed SDK; what they do not
allow is in `violations`.
"""

from __future__ import annotations

import json
import socket
import threading
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from servers import bodies, errors
from servers.answers import Answer, Raw
from servers.bodies import Body
from servers.checks import request_problems
from servers.delivery import (
    Protocol,
    Received,
    as_json,
    as_raw,
    deliver,
    deliver_raw,
    receive,
    stream,
)
from servers.events import response_events
from servers.memory import Memory, Refused, check_chat_messages

RESPONSES = "/v1/responses"
CHAT = "/v1/chat/completions"
Responder = Callable[[Received], Answer | Raw]


def echo(received: Received) -> Answer:
    """The answer when a test asked for none: what the user, or the tool, said last."""
    body = received.body
    on_responses = received.path == RESPONSES
    last = (bodies.as_items(body["input"]) if on_responses else body["messages"])[-1]
    said = last.get("output", last.get("content", ""))
    if isinstance(said, list):
        said = " ".join(part.get("text", "") for part in said)
    return Answer(text=f"You said: {said}", reasoning="I repeat it." if on_responses else None)


class OpenAIServer:
    """The service as a test sees it. Safe to read and to script from any thread.

    Attributes:
        base_url: the address for the SDK, ending in `/v1`.
        api_key: a key that works; any key but `sk-wrong` does.
        requests: every request since the test began.
        violations: what the SDK's types do not allow in the create bodies received. A test fails
            when there are any.
        allowed: top-level keys that a test sends although the SDK does not know them
            (`extra_body`).
        zero_data_retention: nothing is stored, and `previous_response_id` is refused.
        models: what `GET /v1/models` lists.
        background_looks: how often a response made in the background is seen unfinished before it
            is done.
        cancelled: the ids of responses that were cancelled.
    """

    api_key = "sk-test"

    def __init__(self) -> None:
        self.reset()
        # asyncio turns Nagle's algorithm off only for sockets that name their protocol; it would
        # cost 40 ms a call.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(256)
        self.base_url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._app(),
                http=Protocol,
                loop="asyncio",
                ws="none",
                lifespan="off",
                log_level="warning",
                timeout_graceful_shutdown=1,
            )
        )
        self._thread = threading.Thread(
            target=self._server.run,
            kwargs={"sockets": [self._socket]},
            name="openai-fake",
            daemon=True,
        )

    def reset(self) -> None:
        """Forget all of the test before."""
        self.requests: list[Received] = []
        self.violations: list[str] = []
        self.allowed: set[str] = set()
        self.zero_data_retention = False
        self.models = ["gpt-5", "gpt-5-mini", "gpt-4o"]
        self.background_looks = 2
        self.cancelled: list[str] = []
        self._looks: dict[str, int] = {}
        self._listed: dict[str, list[Body]] = {}
        self._memory = Memory()
        self._queues: defaultdict[str, deque[Answer | Raw]] = defaultdict(deque)
        self._responder: Responder = echo

    def start(self) -> None:
        """Serve until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and wait until the port is free."""
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()

    # --- The script -------------------------------------------------------------------------------

    def enqueue(self, *answers: Answer | Raw, on: str = "create") -> None:
        """Answer the next calls with these, in order.

        `on` is "create" (both APIs) or "retrieve", "cancel", "delete", "input_items" or "models"
        (these take only `Raw`).
        """
        self._queues[on].extend(answers)

    def respond_with(self, responder: Responder) -> None:
        """Answer create calls by a function of the request when nothing is enqueued.

        For calls in parallel.
        """
        self._responder = responder

    def forget(self, response_id: str) -> None:
        """Lose a stored response, as after thirty days."""
        self._memory.forget(response_id)

    @property
    def unused(self) -> list[Answer | Raw]:
        """Answers that no request has asked for yet."""
        return [answer for queue in self._queues.values() for answer in queue]

    # --- What was received ------------------------------------------------------------------------

    @property
    def bodies(self) -> list[Body]:
        """The bodies of the create calls, in order."""
        return [request.body for request in self.requests if request.method == "POST"]

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._server.server_state.connections)

    def context_of(self, response_id: str) -> list[Body]:
        """Every item that the model saw for a stored response; instructions are in the request."""
        return self._memory.turn(response_id).context

    def stored(self) -> list[str]:
        """The ids of the stored responses, oldest first."""
        return list(self._memory.turns)

    # --- Serving ----------------------------------------------------------------------------------

    def _app(self) -> Starlette:
        routes = (
            ("POST", RESPONSES, "create", self._create_response),
            ("POST", CHAT, "create", self._create_chat),
            ("GET", RESPONSES + "/{id}", "retrieve", self._retrieve),
            ("POST", RESPONSES + "/{id}/cancel", "cancel", self._cancel),
            ("DELETE", RESPONSES + "/{id}", "delete", self._delete),
            ("GET", RESPONSES + "/{id}/input_items", "input_items", self._input_items),
            ("GET", "/v1/models", "models", self._models),
        )
        return Starlette(
            routes=[
                Route(path, self._endpoint(on, serve), methods=[method])
                for method, path, on, serve in routes
            ]
        )

    def _endpoint(
        self, on: str, serve: Callable[[Received, Request], Awaitable[Response]]
    ) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            received = await receive(request)
            self.requests.append(received)
            if refused := _check_key(received):
                return as_raw(refused)
            if on != "create" and self._queues[on]:
                answer = self._queues[on].popleft()
                assert isinstance(answer, Raw), f"{on} is answered by Raw alone"
                return await deliver_raw(answer, request)
            try:
                return await serve(received, request)
            except Refused as refusal:
                return as_raw(refusal.answer)

        return endpoint

    async def _create_response(self, received: Received, request: Request) -> Response:
        self._check(received)
        if raw := self._queued_raw():
            return await deliver_raw(raw, request)
        body = received.body
        if self.zero_data_retention:
            if body.get("previous_response_id"):
                raise Refused(errors.zero_data_retention())
            body = {**body, "store": False}
        inputs, context = self._memory.admit(body)
        answer = self._answer(received)
        if isinstance(answer, Raw):
            return await deliver_raw(answer, request)
        output = bodies.output_items(answer, body)
        read = bodies.count_tokens([body.get("instructions"), context])
        response = bodies.response(answer, body, output, read)
        if not (answer.failed or answer.stream_error or answer.reset):
            self._memory.keep(body, response, inputs, context)
        if body.get("stream"):
            events = (
                f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
                for event in response_events(answer, response)
            )
            return stream(events, answer, received, request)
        if body.get("background"):
            self._looks[response["id"]] = self.background_looks
            response = _unfinished(response, "queued")
        return await deliver(response, answer, received, request)

    async def _create_chat(self, received: Received, request: Request) -> Response:
        self._check(received)
        if raw := self._queued_raw():
            return await deliver_raw(raw, request)
        check_chat_messages(received.body["messages"])
        answer = self._answer(received)
        if isinstance(answer, Raw):
            return await deliver_raw(answer, request)
        if received.body.get("stream"):
            return stream(_chat_frames(answer, received.body), answer, received, request)
        return await deliver(
            bodies.chat_completion(answer, received.body), answer, received, request
        )

    async def _retrieve(self, received: Received, request: Request) -> Response:
        response = self._memory.turn(request.path_params["id"]).response
        if self._looks.get(response["id"], 0) > 0:
            self._looks[response["id"]] -= 1
            response = _unfinished(response, "in_progress")
        return as_json(response)

    async def _cancel(self, received: Received, request: Request) -> Response:
        response = self._memory.turn(request.path_params["id"]).response
        self.cancelled.append(response["id"])
        return as_json(_unfinished(response, "cancelled"))

    async def _delete(self, received: Received, request: Request) -> Response:
        response_id = request.path_params["id"]
        self._memory.forget(response_id)
        return as_json({"id": response_id, "object": "response", "deleted": True})

    async def _input_items(self, received: Received, request: Request) -> Response:
        # The service lists what the model saw, earlier turns included.
        response_id = request.path_params["id"]
        turn = self._memory.turn(response_id)
        if response_id not in self._listed:
            self._listed[response_id] = [bodies.listed_item(item) for item in turn.context]
        return as_json(bodies.input_item_page(self._listed[response_id], received.query))

    async def _models(self, received: Received, request: Request) -> Response:
        return as_json(bodies.model_list(self.models))

    def _check(self, received: Received) -> None:
        self.violations += request_problems(
            received.path, received.body, allowed=frozenset(self.allowed)
        )

    def _queued_raw(self) -> Raw | None:
        """The next answer if it is a `Raw`; others wait for a request that the service takes."""
        queue = self._queues["create"]
        return queue.popleft() if queue and isinstance(queue[0], Raw) else None

    def _answer(self, received: Received) -> Answer | Raw:
        queue = self._queues["create"]
        return queue.popleft() if queue else self._responder(received)


def _unfinished(response: Body, status: str) -> Body:
    return {**response, "status": status, "output": [], "usage": None}


def _check_key(received: Received) -> Raw | None:
    scheme, _, key = received.headers.get("authorization", "").partition(" ")
    if scheme != "Bearer" or not key:
        return errors.missing_key()
    return errors.invalid_api_key(key) if key == "sk-wrong" else None


def _chat_frames(answer: Answer, request: Body) -> Iterator[str]:
    for chunk in bodies.chat_chunks(answer, request):
        yield f"data: {json.dumps(chunk)}\n\n"
        if answer.stream_error and chunk["choices"][0]["delta"].get("content"):
            failure = {
                "message": "The model failed.",
                "type": "server_error",
                "param": None,
                "code": answer.stream_error,
            }
            yield f"data: {json.dumps({'error': failure})}\n\n"
            return
    yield "data: [DONE]\n\n"
