"""A vLLM server at the other end of HTTP, as an engine."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from synth_ai.engines.base import (
    Engine,
    EngineFacts,
    Sampling,
    TokenDelta,
    check_prompt,
    check_sampling,
)
from synth_ai.engines.model_names import full_name
from synth_ai.engines.vllm.server_wire import cached_tokens, request_body, token_delta
from synth_ai.errors import MalformedAnswerError, NotFoundError
from synth_ai.http.client import HTTPClient, SendOptions
from synth_ai.timeout import Timeout

_VOCABULARY_SIZE = 201_088  # of gpt-oss; a server does not tell
_PATH = "/completions"


class RemoteEngine(Engine):
    """gpt-oss on a vLLM server, spoken to in token ids.

    It posts to `/v1/completions` with `return_token_ids`. vLLM's own token route, `/inference/v1/generate`, exists only
    on servers started with `--enable-scale-out` or `--tokens-only`, and the completions route has all it has that is
    needed here: ids both ways, streaming, log probabilities by id and structured outputs. The server detokenizes what
    nobody reads; that is the price. Cached tokens are reported by servers started with
    `--enable-prompt-tokens-details`.

    Closing the stream or cancelling the task closes the connection, and the server aborts the request.

    Args:
        base_url: the server's address, with or without `/v1` at its end.
        model: the name it serves the model under, `gpt-oss-20b` for `openai/gpt-oss-20b` too and the other way round;
            None takes the first of its list.
        api_key: sent as a bearer key, if the server wants one. No key is read from the environment.
        timeout: seconds until an answer, or the next event of a stream, must have come.

    A call that fails is not tried again here: LM's retry policy does that.
    """

    def __init__(
        self,
        base_url: str,
        model: str | None = None,
        *,
        api_key: str | None = None,
        timeout: float = 600.0,
    ) -> None:
        self.base_url = _with_version(base_url)
        self.model = model or ""
        # The SDK would take OPENAI_API_KEY where it gets no key, and that one is not for this server.
        self._client = HTTPClient(base_url=self.base_url, api_key=api_key or "EMPTY")
        self._options: SendOptions = {"timeout": Timeout(first_byte=timeout)}
        self._facts: EngineFacts | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url!r}, {self.model!r})"

    async def facts(self) -> EngineFacts:
        """What the server says of its model; asked once.

        Raises:
            ServerError: it cannot be asked.
            NotFoundError: it does not serve this model.
            MalformedAnswerError: it does not tell the context length, as vLLM does.
        """
        if self._facts is None:
            answer = (await self._client.get("/models")).data
            card = _card(answer.get("data") or [], self.model, self.base_url)
            self.model, self._facts = card["id"], _facts_of(card, self.base_url)
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
        room = facts.context_length - len(prompt)
        body = request_body(self.model, prompt, sampling, room=room, stream=stream)
        if stream:
            async with aclosing(self._stream(body, sampling.logprobs)) as deltas:
                async for delta in deltas:
                    yield delta
        else:
            answer = await self._client.post(_PATH, body, self._options)
            yield answer.read(lambda data: _whole(data, sampling.logprobs))

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _stream(
        self, body: Mapping[str, Any], wanted_logprobs: int | None
    ) -> AsyncGenerator[TokenDelta, None]:
        last = None
        async with self._client.stream(_PATH, body, self._options) as events:
            async for event in events:
                delta = token_delta(event, wanted_logprobs)
                if last is not None:
                    # The event after the last tokens brings the usage.
                    yield replace(last, cached_tokens=cached_tokens(event))
                    return
                if delta is None:
                    continue
                if delta.finish_reason is None:
                    yield delta
                else:
                    last = delta
        if last is None:
            raise MalformedAnswerError(
                f"{self.base_url} ended the stream before the completion was finished."
            )
        yield last


def _with_version(base_url: str) -> str:
    address = base_url.rstrip("/")
    return address if address.endswith("/v1") else f"{address}/v1"


def _card(cards: Sequence[Mapping[str, Any]], model: str, base_url: str) -> Mapping[str, Any]:
    exact = (card for card in cards if not model or card.get("id") == model)
    alike = (card for card in cards if full_name(str(card.get("id"))) == full_name(model))
    card = next(exact, None) or next(alike, None)
    if card is not None:
        return card
    names = ", ".join(repr(card.get("id")) for card in cards) or "no model at all"
    raise NotFoundError(f"{base_url} does not serve {model!r}; it serves {names}.", status_code=404)


def _facts_of(card: Mapping[str, Any], base_url: str) -> EngineFacts:
    length = card.get("max_model_len")
    if not isinstance(length, int):
        raise MalformedAnswerError(
            f"{base_url} does not tell the context length of {card.get('id')!r} (max_model_len). "
            "RemoteEngine needs a vLLM server; for another OpenAI-compatible server use api='chat'."
        )
    return EngineFacts(length, _VOCABULARY_SIZE, context_option="max_model_len")


def _whole(answer: Mapping[str, Any], wanted_logprobs: int | None) -> TokenDelta:
    delta = token_delta(answer, wanted_logprobs)
    if delta is None or delta.finish_reason is None:
        raise MalformedAnswerError("The server's answer holds no finished completion.", body=answer)
    return delta
