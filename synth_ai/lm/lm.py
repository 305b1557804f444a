"""`LM`: one class for a model, wherever it runs and whatever API it speaks."""

from __future__ import annotations

import copy
import os
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Literal, Self, overload

from synth_ai.engines.base import Engine
from synth_ai.errors import OptionError
from synth_ai.events import StreamEvent
from synth_ai.images import Image
from synth_ai.limiter import ConcurrencyLimiter
from synth_ai.lm import pipeline as exchange
from synth_ai.lm import sync as portal
from synth_ai.lm import tool_loop as tool_runs
from synth_ai.lm.batch import BatchPrompt, as_calls, check_progress, gather
from synth_ai.lm.compaction import Compact, Compactor
from synth_ai.lm.config import LMConfig
from synth_ai.lm.conversation import Head, Parent
from synth_ai.lm.pipeline import CALL_ARGUMENTS, NOT_GIVEN, Call, NotGiven
from synth_ai.lm.prices import Price, read_prices
from synth_ai.lm.prompt import ToolOutputs
from synth_ai.lm.responses import StoredResponses
from synth_ai.lm.retry import RetryPolicy, policy
from synth_ai.lm.signatures import takes_the_same_as
from synth_ai.lm.streams import ResponseStream, SyncResponseStream
from synth_ai.lm.structured_output import ResponseFormat
from synth_ai.lm.tool_loop import OnError, OnStep, ToolExecutor, ToolRun
from synth_ai.lm.tools import Tool, tool_specs
from synth_ai.lm.usage import Totals
from synth_ai.lm.vendors.base import VendorBase
from synth_ai.lm.vendors.families import ApiType
from synth_ai.lm.vendors.registry import Where, make_vendor
from synth_ai.options import Options
from synth_ai.response import BaseLMResponse
from synth_ai.settings import Settings
from synth_ai.store.base import ResponseStore
from synth_ai.store.memory import MemoryStore
from synth_ai.store.null import NullStore
from synth_ai.store.open import open_store
from synth_ai.timeout import Timeout
from synth_ai.tree.tree import Tree


class LM:
    """A model to talk to.

    The name decides the API: `gpt-oss-20b`, `gpt-oss-120b` and folders of such models run in this process and speak
    Harmony; OpenAI's own models, and any other bare name, are called on the Responses API; with a `base_url`, any
    name is called on Chat Completions there.

    On `responses` and `harmony`, each call continues the one before; `previous_response_id=` continues from any
    earlier response instead, which forks the conversation. `chat` calls continue only where that is given.

    Args:
        model: a model's name, or a folder with a gpt-oss model.
        vendor: `openai`, `synth`, `vllm`, or a `VendorBase` object of your own.
        api: `auto`, `chat`, `responses` or `harmony`.
        use_responses_api: choose between chat and Responses where the name allows both.
        auto_store_responses: whether calls continue the one before (on by default); never on `chat`.
        base_url: the address of a server, such as `http://localhost:8000/v1`.
        api_key: the server's key; by default from the environment.
        engine: the engine that runs Harmony; by default vLLM in this process. A dict of vLLM's engine arguments, such
            as `{"max_model_len": 32768}`, does the same with these: LMs of one model and equal arguments share one
            engine, and other arguments for a model that is in use are an error, or a second engine where
            `"new_engine": True` is among them.
        response_store: where turns are kept: a path (SQLite), a store object, False for nowhere; memory by default.
        system_message: the system message of conversations that are begun without one.
        tools: functions, tool classes or schemas that the model may call.
        response_model: the shape of the answers: a pydantic model, a type, or a JSON schema.
        temperature: 0 to 2; unset by default, which leaves it to the model.
        reasoning_effort: such as `low`, `medium` or `high`.
        max_tokens: the most tokens to generate, the reasoning included.
        retry: a `RetryPolicy`, a number of tries, or False.
        timeout: seconds for a whole call, its retries included; a `Timeout` bounds its phases too.
        max_concurrency: how many calls may be under way at once.
        requests_per_minute: a limit shared by all LMs with this key at this address; what the server's headers say
            is kept to without it.
        tokens_per_minute: likewise for tokens, prompt and answer together.
        transport: `aiohttp` for calls that cost less CPU (the extra of that name), `httpx` by default.
        compact: is called when a conversation no longer fits into the context, with the items of the oldest turns,
            and returns what stands in their place: a summary, or items. (`truncation="auto"` just leaves them out;
            without either, such a call is an error.)
        prices: what models cost, by the name that the server reports or the one given here, in place of OpenAI's
            list prices of `synth_ai.lm.prices`.
        **options: any parameter of the API by its own name; `extra_body=` for what the SDK does not know yet. A
            call's option replaces the LM's; `extra_*`, `metadata` and some others are merged by key.

    Raises:
        ConfigurationError: an option is unknown or contradicts another, or something needed is missing.
    """

    def __init__(
        self,
        model: str,
        *,
        vendor: str | VendorBase | None = None,
        api: ApiType | Literal["auto"] = "auto",
        use_responses_api: bool | None = None,
        auto_store_responses: bool | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        engine: Engine | Mapping[str, Any] | None = None,
        response_store: str | os.PathLike[str] | ResponseStore | bool | None = None,
        system_message: str | None = None,
        tools: Sequence[Tool] | None = None,
        response_model: Any = None,
        temperature: float | None = None,
        reasoning_effort: str | None = None,
        max_tokens: int | None = None,
        retry: RetryPolicy | int | bool | None = None,
        timeout: Timeout | float | None = None,
        max_concurrency: int | None = None,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        prices: Mapping[str, Price | Mapping[str, float]] | None = None,
        transport: Literal["httpx", "aiohttp"] | None = None,
        compact: Compact | None = None,
        **options: Any,
    ) -> None:
        settings = Settings.from_environment()
        if compact is not None and not callable(compact):
            raise OptionError(
                f"compact={compact!r} cannot be called; truncation='auto' leaves old turns out."
            )
        if not (system_message is None or isinstance(system_message, str)):
            raise OptionError(f"system_message={system_message!r} is no string.")
        own_prices = None if prices is None else read_prices(prices)
        limiter = ConcurrencyLimiter(max_concurrency)
        tries = policy(retry)
        executor = ToolExecutor(tools)
        shape = None if response_model is None else ResponseFormat.of(response_model)
        where = Where(
            vendor=vendor,
            api=api,
            use_responses_api=use_responses_api,
            base_url=base_url,
            api_key=api_key,
            engine=engine,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            transport=transport,
        )
        self._owns = True
        self._vendor_is_ours = not isinstance(vendor, VendorBase)
        backend = make_vendor(model, where, settings)
        own = {
            "temperature": temperature,
            "reasoning_effort": reasoning_effort,
            "max_tokens": max_tokens,
            "timeout": timeout,
        }
        given = {name: value for name, value in own.items() if value is not None} | options
        defaults = Options.of(backend.api_type, given)
        self._store_is_ours = not isinstance(response_store, ResponseStore)
        store = open_store(settings.store if response_store is None else response_store)
        self._config = LMConfig(
            model=model,
            vendor=backend,
            store=store,
            defaults=defaults,
            system_message=system_message,
            tools=executor,
            response_format=shape,
            retry=tries,
            limiter=limiter,
            prices=backend.list_prices if own_prices is None else own_prices,
            compactor=None if compact is None else Compactor(compact),
        )
        self.responses = StoredResponses(self._config)
        self._head = Head()
        self._chains = backend.api_type == "responses" or (
            backend.api_type == "harmony" and not isinstance(store, NullStore)
        )
        if auto_store_responses and backend.api_type == "chat":
            raise OptionError(
                "auto_store_responses=True is not for the chat API, whose calls continue only when told: "
                "use previous_response_id= or lm.fork()."
            )
        if auto_store_responses and backend.api_type == "harmony" and not self._chains:
            raise OptionError(
                "auto_store_responses=True and response_store=False contradict each other on harmony: "
                "no server keeps the turns, so a conversation needs a store to continue from."
            )
        self._auto_store = next(
            wish
            for wish in (auto_store_responses, settings.auto_store_responses, True)
            if wish is not None
        )

    # --- one call ---------------------------------------------------------------------------------------------------

    def respond_async(
        self,
        *prompt: str,
        system_message: str | None = None,
        user_message: str | None = None,
        messages: Sequence[Mapping[str, Any]] | None = None,
        images: Sequence[Image] = (),
        tools: Sequence[Tool] | NotGiven | None = NOT_GIVEN,
        tool_outputs: ToolOutputs | None = None,
        response_model: Any = NOT_GIVEN,
        previous_response_id: str | None = None,
        auto_store: bool | None = None,
        **options: Any,
    ) -> Coroutine[Any, Any, BaseLMResponse]:
        """Answer a prompt.

        Args:
            *prompt: one string is the user's message, two are (system, user).
            system_message: the system message; it stays in force down the branch until another replaces it.
            user_message: the user's message.
            messages: messages in the shape of Chat Completions, or items of the Responses API. With an assistant's
                turn among them they are a whole history, which starts a conversation of its own.
            images: bytes, paths or URLs of pictures, for models that see.
            tools: tools that the model may call; they stay in force down the branch. None takes them away.
            tool_outputs: `{call_id: output}` for the calls of the turn before, or a list of
                `{"call_id": ..., "output": ...}`.
            response_model: the shape of the answer; None for plain text in spite of the LM's own.
            previous_response_id: the response to continue from; an earlier one forks the conversation.
            auto_store: whether this call's turn becomes the LM's head. False asks aside and leaves the head alone.
            **options: options for this call, on top of the LM's own.

        Returns:
            A coroutine of the response. The call starts from the head as it is now, not as it is when awaited.

        Raises:
            SynthAIError: see `synth_ai.errors`.
        """
        call = self._call(
            auto_store,
            texts=prompt,
            system_message=system_message,
            user_message=user_message,
            messages=messages,
            images=images,
            tools=tools,
            tool_outputs=tool_outputs,
            response_model=response_model,
            previous_response_id=previous_response_id,
            options=options,
        )
        return exchange.respond(self._config, call, self._head)

    @takes_the_same_as(respond_async)
    def respond_sync(self, *prompt: str, **arguments: Any) -> BaseLMResponse:
        """`respond_async` for callers that do not await; it also works where an event loop is already running."""
        return portal.run(self.respond_async(*prompt, **arguments))

    respond = respond_sync

    @takes_the_same_as(respond_async)
    def stream_async(self, *prompt: str, **arguments: Any) -> ResponseStream:
        """The answer as events while it is generated, the last of which is `Completed`.

        Use `async with lm.stream_async(...) as stream: async for event in stream: ...`, then `stream.response`;
        a bare `async for` works too. Leaving early aborts the call.
        """
        return ResponseStream(self._stream(*prompt, **arguments))

    @takes_the_same_as(respond_async)
    def stream_sync(self, *prompt: str, **arguments: Any) -> SyncResponseStream:
        """`stream_async` for callers that do not await."""
        return SyncResponseStream(self._stream(*prompt, **arguments))

    def _stream(
        self, *prompt: str, auto_store: bool | None = None, **arguments: Any
    ) -> AsyncGenerator[StreamEvent, None]:
        known = {name: arguments.pop(name) for name in CALL_ARGUMENTS & arguments.keys()}
        call = self._call(auto_store, texts=prompt, options=arguments, **known)
        return exchange.stream(self._config, call, self._head)

    def _call(self, auto_store: bool | None, **what: Any) -> Call:
        continues = self._chains or auto_store is True
        moves_head = continues and (self._auto_store if auto_store is None else auto_store)
        return Call(ticket=self._head.take(), continues=continues, moves_head=moves_head, **what)

    # --- many calls -------------------------------------------------------------------------------------------------

    @overload
    async def respond_batch_async(
        self,
        prompts: Sequence[BatchPrompt],
        *,
        return_exceptions: Literal[False] = False,
        progress: bool = False,
        **arguments: Any,
    ) -> list[BaseLMResponse]: ...
    @overload
    async def respond_batch_async(
        self,
        prompts: Sequence[BatchPrompt],
        *,
        return_exceptions: bool,
        progress: bool = False,
        **arguments: Any,
    ) -> list[BaseLMResponse | BaseException]: ...
    async def respond_batch_async(
        self,
        prompts: Sequence[BatchPrompt],
        *,
        return_exceptions: bool = False,
        progress: bool = False,
        **arguments: Any,
    ) -> list[Any]:
        """Answer many prompts at once, each on its own: none continues another, and the head stays where it is.

        Args:
            prompts: each a string, a `(system, user)` pair, a list of messages, or a dict of `respond_async`'s
                arguments.
            return_exceptions: put a failed call's error in its place instead of raising it.
            progress: show a progress bar (the extra of that name).
            **arguments: arguments for every call. `previous_response_id=` makes each of them a fork of that response.

        Returns:
            The responses, in the order of the prompts.

        Raises:
            SynthAIError: the first error, once every other call has ended.
        """
        check_progress(progress)
        written = as_calls(prompts)
        batch = replace(self._config, vendor=self._config.vendor.for_batch(len(written)))
        alone = self._derive(Head(), chains=False, config=batch)
        calls = [alone.respond_async(*texts, **{**arguments, **own}) for texts, own in written]
        return await gather(calls, return_exceptions=return_exceptions, progress=progress)

    @overload
    def respond_batch(
        self,
        prompts: Sequence[BatchPrompt],
        *,
        return_exceptions: Literal[False] = False,
        progress: bool = False,
        **arguments: Any,
    ) -> list[BaseLMResponse]: ...
    @overload
    def respond_batch(
        self,
        prompts: Sequence[BatchPrompt],
        *,
        return_exceptions: bool,
        progress: bool = False,
        **arguments: Any,
    ) -> list[BaseLMResponse | BaseException]: ...
    def respond_batch(self, prompts: Sequence[BatchPrompt], **arguments: Any) -> list[Any]:
        """`respond_batch_async` for callers that do not await."""
        return portal.run(self.respond_batch_async(prompts, **arguments))

    async def run_tools_async(
        self,
        *prompt: str,
        max_rounds: int = 10,
        on_error: OnError = "report",
        on_step: OnStep | None = None,
        **arguments: Any,
    ) -> ToolRun:
        """Answer a prompt, running the tools that the model calls until it gives its final answer.

        Tools are functions or `BaseTool` classes: those of this call, else of the branch, else of the LM. (A branch
        read back from a file has schemas alone; the functions are then the LM's own of the same names.) The calls of
        one turn run at once, sync tools on threads that see the caller's context variables. Arguments are checked
        against the tool's types first. A `tool_choice` that forces a call holds for the first turn; from then on the
        model chooses. Cancelling the run cancels its async tools; a thread cannot be stopped, its result is dropped.

        Args:
            max_rounds: how many times the model may call tools.
            on_error: `report` tells the model what went wrong, be it an exception, arguments that do not fit or a
                tool that there is not; `raise` ends the run once the other calls of the turn have ended.
            on_step: is called with each round as it ends, and awaited where it gives something to await.
            **arguments: as for `respond_async`.

        Returns:
            The last response and every round. Calls to a tool that is only a schema (a plain pydantic model is one)
            end the run: they are in `run.pending`, to be answered with `tool_outputs={**run.outputs, call_id: ...}`.

        Raises:
            ToolRunError: a tool failed and `on_error` is `raise`, or the rounds are used up.
            SynthAIError: as for `respond_async`.
        """
        tool_runs.check_run_options(max_rounds, on_error, on_step)
        given = arguments.get("tools", NOT_GIVEN)
        if not isinstance(given, NotGiven):
            given = arguments["tools"] = tool_specs(given or ())
        config = self._config
        if isinstance(config.store, NullStore):
            # The rounds continue one another, and what the caller wants kept nowhere goes with the run.
            config = replace(config, store=MemoryStore())
        resets = self._head.resets
        runner = self._derive(self._head, chains=self._chains, config=config)
        response = await runner.respond_async(*prompt, **arguments)
        if isinstance(given, NotGiven):
            tools = await tool_runs.tools_in_force(response, self._head.current, config.store)
            toolbox = ToolExecutor(tools, config.tools)
        else:
            toolbox = ToolExecutor(given)
        follow_up = tool_runs.follow_up(arguments, toolbox, config.defaults)

        def go_on(
            before: BaseLMResponse, outputs: dict[str, Any]
        ) -> Coroutine[Any, Any, BaseLMResponse]:
            # After a reset() the rounds still to come belong to the conversation that was left.
            said = follow_up if self._head.resets == resets else {**follow_up, "auto_store": False}
            return runner.respond_async(
                **said, tool_outputs=outputs, previous_response_id=before.response_id
            )

        return await tool_runs.run_until_answered(
            response, toolbox, go_on, max_rounds, on_error, on_step
        )

    @takes_the_same_as(run_tools_async)
    def run_tools(self, *prompt: str, **arguments: Any) -> ToolRun:
        """`run_tools_async` for callers that do not await."""
        run = portal.run(tool_runs.holding_exits(self.run_tools_async(*prompt, **arguments)))
        if isinstance(run, BaseException):
            raise run
        return run

    # --- branches ---------------------------------------------------------------------------------------------------

    @property
    def head(self) -> str | None:
        """The id of the response that the next call continues from; None at the start of a conversation."""
        current = self._head.current
        return current.id if current is not None else None

    def fork(self, response_id: str | None = None) -> Self:
        """A light LM with a head of its own, on the same backend and store.

        Branches forked from one response may be used at the same time without minding each other.

        Args:
            response_id: the response to continue from; the head of this LM by default.
        """
        start = self._head.current if response_id is None else Parent(response_id, None)
        return self._derive(Head(start), chains=True)

    def reset(self) -> None:
        """Begin a new conversation with the next call. Earlier responses can still be continued by their ids."""
        self._head.reset()

    def tree(self) -> Tree:
        """The conversations in the store as a tree to look at: it prints in a terminal and draws in a notebook."""
        return Tree.of(portal.run(self._config.store.list()), head=self.head)

    def _derive(self, head: Head, *, chains: bool, config: LMConfig | None = None) -> Self:
        """An LM that shares everything with this one but its head, and what `config` has otherwise."""
        other = copy.copy(self)
        other._config = self._config if config is None else config
        other._head = head
        other._chains = chains
        other._owns = False
        return other

    # --- the backend ------------------------------------------------------------------------------------------------

    @property
    def model(self) -> str:
        """The model's name, as given."""
        return self._config.model

    @property
    def api_type(self) -> ApiType:
        """The API that this LM speaks."""
        return self._config.vendor.api_type

    @property
    def engine(self) -> Engine | None:
        """The engine that runs the model on harmony; None for the other APIs.

        `await lm.engine.restart()` loads one again that has died, for everyone who shares it.
        """
        engine = getattr(self._config.vendor, "engine", None)
        return engine if isinstance(engine, Engine) else None

    @property
    def auto_store_responses(self) -> bool:
        """Whether a call's turn becomes the head, where the call does not say otherwise."""
        return self._chains and self._auto_store

    @property
    def totals(self) -> Totals:
        """What the calls of this LM and its forks have used up so far: calls, tokens, US dollars."""
        return self._config.usage.totals

    async def models_async(self) -> list[str]:
        """The names of the models that the server has."""
        return await self._config.retry.run(self._config.vendor.models)

    def models(self) -> list[str]:
        """`models_async` for callers that do not await."""
        return portal.run(self.models_async())

    async def aclose(self) -> None:
        """Close what this LM opened: connections, its share of the engine, the store. A fork leaves them open."""
        if not self._owns:
            return
        self._owns = False
        if self._vendor_is_ours:
            await self._config.vendor.aclose()
        if self._store_is_ours:
            await self._config.store.aclose()

    def close(self) -> None:
        """`aclose` for callers that do not await."""
        portal.run(self.aclose())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"LM({self.model!r}, api={self.api_type!r}, head={self.head!r})"
