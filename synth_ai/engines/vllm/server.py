"""A vLLM server at the other end of HTTP, as an engine."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import NotRequired, TypedDict, TypeGuard

from synth_ai.engines.base import (
    Engine,
    EngineFacts,
    Sampling,
    TokenDelta,
    check_prompt,
    check_sampling,
)
from synth_ai.engines.model_names import full_name
from synth_ai.engines.vllm.server_wire import (
    VOCABULARY_SIZE,
    make_request_body,
    read_cached_tokens,
    read_delta,
)
from synth_ai.errors import MalformedAnswerError, NotFoundError, ServerError
from synth_ai.http.api_keys import NO_KEY, APIKey
from synth_ai.http.client import HTTPClient, SendOptions
from synth_ai.timeout import Timeout

_LONGEST_CONTEXT = 2**31 - 1
_PATH = "/completions"
_NEEDS_VLLM = (
    "RemoteEngine needs a vLLM server; for another OpenAI-compatible server use api='chat'."
)


class _Model(TypedDict):
    """An entry in a server's list of models. The last two are vLLM's additions.

    Attributes:
        id: the name that the server serves it under.
        max_model_len: its context length; a LoRA adapter has none of its own.
        parent: the model that an adapter is for.
    """

    id: str
    max_model_len: NotRequired[object]
    parent: NotRequired[object]


class RemoteEngine(Engine):
    """gpt-oss on a vLLM server that is sent token ids, and returns them.

    It posts to `/v1/completions` with `return_token_ids`. vLLM's own token route,
    `/inference/v1/generate`, exists only on servers started with `--enable-scale-out` or
    `--tokens-only`, and the completions route has everything of it that is needed here: ids both
    ways, streaming, log probabilities by id and structured outputs. Its price is that the server
    detokenizes what nobody reads. Cached tokens are reported by servers started with
    `--enable-prompt-tokens-details`.

    Closing the stream or cancelling the task closes the connection, and the server aborts the
    request. A call that fails is not tried again here: LM's retry policy does that.

    Args:
        base_url: the server's address, with or without `/v1` at its end.
        model: the name that it serves the model under, `gpt-oss-20b` for `openai/gpt-oss-20b` too
            and the other way round; None takes the first of its list.
        api_key: sent as a bearer key, if the server wants one. No key is read from the environment.
        timeout: seconds until an answer, or the next event of a stream, must have come.

    Attributes:
        model: the name as given; once `facts` has asked, the server's name for it.
    """

    def __init__(
        self,
        base_url: str,
        model: str | None = None,
        *,
        api_key: APIKey | None = None,
        timeout: float = 600.0,
    ) -> None:
        self.base_url = _add_version(base_url)
        self.model = model or ""
        # The SDK takes OPENAI_API_KEY if it gets no key, and that one is not for this server.
        self._client = HTTPClient(base_url=self.base_url, api_key=api_key or NO_KEY)
        self._options: SendOptions = {"timeout": Timeout(first_byte=timeout)}
        self._facts: EngineFacts | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url!r}, {self.model!r})"

    async def facts(self) -> EngineFacts:
        """Ask the server about its model, and find the name that it has for it. Asks once.

        Raises:
            ServerError: it cannot be asked.
            NotFoundError: it does not serve this model.
            MalformedAnswerError: it does not list models with their context lengths, as vLLM does.
        """
        if self._facts is None:
            answer = await self._client.get("/models", self._options)
            models = _read_models(answer.data, self.base_url)
            model = _find_model(models, self.model, self.base_url)
            base = _find_base(models, model, self.base_url)
            self._facts = _read_facts(base, self.base_url)
            self.model = model["id"]

        return self._facts

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling, *, stream: bool = False
    ) -> AsyncGenerator[TokenDelta, None]:
        """As `Engine.generate`.

        Raises:
            EngineRequestError: this request cannot be served.
            ContextLengthError: the prompt leaves no room in the context.
            ServerError: the server refused it, failed, or cannot be reached.
        """
        facts = await self.facts()
        check_prompt(prompt, facts)
        check_sampling(sampling, facts)

        tokens_left = facts.context_length - len(prompt)
        body = make_request_body(
            self.model, prompt, sampling, tokens_left=tokens_left, stream=stream
        )
        if not stream:
            answer = await self._client.post(_PATH, body, self._options)
            yield answer.read(lambda data: _read_completion(data, sampling.logprobs))
            return

        async with aclosing(self._stream(body, sampling.logprobs)) as deltas:
            async for delta in deltas:
                yield delta

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _stream(
        self, body: Mapping[str, object], num_logprobs: int | None
    ) -> AsyncGenerator[TokenDelta, None]:
        async with self._client.stream(_PATH, body, self._options) as events:
            stream = aiter(events)
            async for event in stream:
                delta = read_delta(event, num_logprobs)
                if delta is None:
                    continue

                if delta.finish_reason is None:
                    yield delta
                    continue

                cached_tokens = await _read_usage(stream)
                if cached_tokens is not None:
                    delta = replace(delta, cached_tokens=cached_tokens)
                yield delta
                return

            raise MalformedAnswerError(
                f"{self.base_url} ended the stream before the completion was finished."
            )


async def _read_usage(events: AsyncIterator[Mapping[str, object]]) -> int | None:
    """Read what follows the last tokens of a stream: the usage, with the cached tokens.

    It is read to its end, as its connection serves another call only then.
    """
    cached_tokens = None
    # The tokens are complete, so nothing that goes wrong from now on is worth an error.
    with suppress(ServerError):
        async for event in events:
            reported = read_cached_tokens(event)
            if reported is not None:
                cached_tokens = reported

    return cached_tokens


def _add_version(base_url: str) -> str:
    """Add the version of the API to an address that has none.

    ::

        http://localhost:8000/    ->  http://localhost:8000/v1
        http://localhost:8000/v1  ->  http://localhost:8000/v1
    """
    address = base_url.rstrip("/")
    if address.endswith("/v1"):
        return address
    return f"{address}/v1"


def _read_models(body: Mapping[str, object], base_url: str) -> list[_Model]:
    models = body.get("data") or []
    if not _is_list_of_models(models):
        raise MalformedAnswerError(
            f"{base_url} did not answer with a list of models. {_NEEDS_VLLM}", body=body
        )
    return models


def _is_list_of_models(models: object) -> TypeGuard[list[_Model]]:
    if not isinstance(models, list):
        return False
    return all(isinstance(model, dict) and isinstance(model.get("id"), str) for model in models)


def _find_model(models: Sequence[_Model], name: str, base_url: str) -> _Model:
    """Find a model in the server's list: the very name first, then another spelling of it.

    Raises:
        NotFoundError: it is not in the list.
    """
    for model in models:
        if not name or model["id"] == name:
            return model

    for model in models:
        if full_name(model["id"]) == full_name(name):
            return model

    names = ", ".join(repr(model["id"]) for model in models)
    raise NotFoundError(
        f"{base_url} does not serve {name!r}; it serves {names or 'no model at all'}.",
        status_code=404,
    )


def _find_base(models: Sequence[_Model], model: _Model, base_url: str) -> _Model:
    """Find the model that an adapter is for, whose context it has; any other model is its own base.

    ::

        {"id": "poet", "parent": "gpt-oss-20b", "max_model_len": None}
        ->  {"id": "gpt-oss-20b", "parent": None, "max_model_len": 131072}

    Raises:
        MalformedAnswerError: it is not in the list.
    """
    if model.get("max_model_len") is not None:
        return model

    parent = model.get("parent")
    if not isinstance(parent, str):
        return model

    for other in models:
        if full_name(other["id"]) == full_name(parent):
            return other

    raise MalformedAnswerError(
        f"{base_url} serves {model['id']!r} as an adapter for {parent!r}, which it does not list, "
        "so the context length is not known. Give the adapter the name of a served model "
        "(base_model_name of vLLM's --lora-modules)."
    )


def _read_facts(model: _Model, base_url: str) -> EngineFacts:
    context_length = model.get("max_model_len")
    if not _is_context_length(context_length):
        raise MalformedAnswerError(
            f"{base_url} does not tell the context length of {model['id']!r} (max_model_len). "
            f"{_NEEDS_VLLM}"
        )
    return EngineFacts(context_length, VOCABULARY_SIZE, context_option="max_model_len")


def _is_context_length(value: object) -> TypeGuard[int]:
    # A bool is an int to Python.
    if isinstance(value, bool) or not isinstance(value, int):
        return False
    return 0 < value <= _LONGEST_CONTEXT


def _read_completion(body: Mapping[str, object], num_logprobs: int | None) -> TokenDelta:
    delta = read_delta(body, num_logprobs)
    if delta is None or delta.finish_reason is None:
        raise MalformedAnswerError("The server's answer holds no finished completion.", body=body)
    return delta
