"""`LM`: one class for a model, wherever it runs and whatever API it speaks."""

from __future__ import annotations

import copy
from collections.abc import AsyncGenerator, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from types import CoroutineType, TracebackType
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    NoReturn,
    Self,
    TypeAlias,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from typing_extensions import TypeForm

from synth_ai.api import API
from synth_ai.content import AnswerT
from synth_ai.engines.base import Engine
from synth_ai.errors import OptionError, RequestError, did_you_mean
from synth_ai.events import Completed, StreamEvent
from synth_ai.ids import check_id
from synth_ai.limiter import ConcurrencyLimiter
from synth_ai.lm import pipeline, prepare, reask, sync
from synth_ai.lm.api_keys import read_key
from synth_ai.lm.arguments import (
    CALL_ARGUMENTS,
    CallArguments,
    LMArguments,
    UnshapedArguments,
    show_arguments,
    split_call_arguments,
    split_lm_arguments,
)
from synth_ai.lm.batch import BatchPrompt, as_calls, check_progress, gather
from synth_ai.lm.cache import check_cache
from synth_ai.lm.call import Call
from synth_ai.lm.compaction import Compactor
from synth_ai.lm.config import LMConfig
from synth_ai.lm.conversation import Head, Parent
from synth_ai.lm.prices import check_has_price, read_prices
from synth_ai.lm.responses import StoredResponses
from synth_ai.lm.retry import as_policy
from synth_ai.lm.streams import ResponseStream, StreamFacts, SyncResponseStream
from synth_ai.lm.structured_output import ResponseFormat
from synth_ai.lm.token_count import TokenCount
from synth_ai.lm.tool_executor import ToolExecutor
from synth_ai.lm.tool_loop import (
    RunArguments,
    ToolLoop,
    UnshapedRunArguments,
    make_run_config,
    split_arguments,
)
from synth_ai.lm.tool_run import ToolRun
from synth_ai.lm.tool_streams import SyncToolStream, ToolStream
from synth_ai.lm.usage import Totals, UsageTotals, read_max_cost
from synth_ai.lm.vendors.backend import BackendOptions, make_backend
from synth_ai.lm.vendors.base import VendorBase
from synth_ai.response import BaseLMResponse
from synth_ai.settings import Settings
from synth_ai.store.base import ResponseStore
from synth_ai.store.null import NullStore
from synth_ai.store.open import open_store
from synth_ai.store.tags import read_tags
from synth_ai.tree.read import read_tree
from synth_ai.tree.tree import Tree

ShapeT = TypeVar("ShapeT")

Schema: TypeAlias = Mapping[str, Any]
"""A JSON schema, of which no type checker knows what answers it allows."""


class LM(Generic[AnswerT]):
    """A model to talk to.

    The name decides the API: `gpt-oss-20b`, `gpt-oss-120b` and folders of such models run in this
    process and speak Harmony; OpenAI's own models, and any other bare name, are called on the
    Responses API; with a `base_url`, any name is called on Chat Completions there.

    On `responses` and `harmony`, each call continues the one before; `previous_response_id=`
    continues from any earlier response instead, which forks the conversation. `chat` calls continue
    only when that is given.

    Args:
        model: a model's name, or a folder with a gpt-oss model.
        vendor: `openai`, `synth`, `vllm`, a name that was given to `register_vendor`, or a
            `VendorBase` object of your own.
        api: `auto`, `chat`, `responses`, `harmony`, or an API of a registered vendor.
        use_responses_api: choose between chat and Responses where the name allows both.
        auto_store_responses: whether calls continue the one before (on by default, never on
            `chat`).
        base_url: the address of a server, such as `http://localhost:8000/v1`.
        api_key: the server's key; by default from the environment. For keys that expire, a function
            that returns the one of now, sync or async. It is asked with every request, so it keeps
            a key for as long as that holds.
        engine: the engine that runs Harmony; by default vLLM in this process. The name of one
            (`vllm`, `transformers`, or one that was given to `register_engine`), or a dictionary of
            its arguments, such as `{"max_model_len": 32768}` for vLLM and
            `{"engine": "NAME", ...}` for others. LMs of one model and equal arguments share one
            engine; other arguments for a model that is in use are an error, or a second engine
            with `"new_engine": True` among them.
        response_store: where turns are kept: a path (SQLite), `scheme://...` of a registered store,
            a store object, False for nowhere; memory by default.
        system_message: the system message of conversations that begin without one.
        tools: functions, tool classes or schemas that the model may call.
        response_model: the shape of the answers: a pydantic model, a type, or a JSON schema. An LM
            with one is an `LM[City]` to type checkers, and its responses know their type.
        retry: a `RetryPolicy`, a number of tries, or False.
        max_concurrency: how many calls may be under way at once. A call made inside another one, by
            the reader of a stream, uses that one's place.
        requests_per_minute: a limit shared by all LMs with this key at this address; the limits
            that the server's headers name are kept without it.
        tokens_per_minute: likewise for tokens, prompt and answer together.
        transport: the HTTP library of calls to a server: `aiohttp` by default, or `httpx`, that of
            the openai SDK, which costs more CPU.
        max_response_bytes: the most bytes of a server's answer, 256 MiB by default; a larger one is
            a `ResponseTooLargeError`. A stream has as many in all its events together.
        compact: is called when a conversation no longer fits into the context, with the items of
            the oldest turns, and returns what stands in their place: a summary, or items.
            (`truncation="auto"` just leaves them out; without either, such a call is an error.)
        tags: labels of all calls, as JSON, such as `{"run": "july"}`: kept with their turns, never
            sent. Those of a call come on top of them.
        cache: have the response store answer a request that it has an answer to, if that is
            deterministic (`temperature=0`, or a `seed`): see `synth_ai.lm.cache`.
        prices: what models cost, by the name that the server reports or the one given here, in
            place of OpenAI's list prices of `synth_ai.lm.prices`.
        max_cost: the most that all calls of this LM and its forks may cost together, in US dollars,
            by those prices and the tokens that the server reports. Once that is reached, calls are
            a `SpendingCapError`; those that are under way by then go on. The model needs a price.
        **options: options of all calls: `temperature`, `reasoning_effort`, `max_tokens`, `timeout`
            and any parameter of the API by its own name; see `GenerationOptions`. `extra_body=` is
            for what the SDK does not know yet. A call's option replaces the LM's; `extra_*`,
            `metadata` and some others are merged by key.

    Raises:
        ConfigurationError: an option is unknown or contradicts another, or something needed is
            missing.
    """

    @overload
    def __init__(self: LM[Any], model: str, **arguments: Unpack[LMArguments]) -> None: ...
    @overload
    def __init__(
        self: LM[Any],
        model: str,
        *,
        response_model: Schema | None,
        **arguments: Unpack[LMArguments],
    ) -> None: ...
    @overload
    def __init__(
        self: LM[ShapeT],
        model: str,
        *,
        response_model: TypeForm[ShapeT],
        **arguments: Unpack[LMArguments],
    ) -> None: ...
    @show_arguments(LMArguments)
    def __init__(
        self, model: str, *, response_model: Any = None, **arguments: Unpack[LMArguments]
    ) -> None:
        settings = Settings.from_environment()
        given, options = split_lm_arguments(arguments)

        # What needs nothing but itself is checked before anything is opened.
        system_message = given.get("system_message")
        if not (system_message is None or isinstance(system_message, str)):
            raise OptionError(f"system_message must be a string, not {system_message!r}.")
        compact = given.get("compact")
        if compact is not None and not callable(compact):
            raise OptionError(
                f"compact must be a function of items, not {compact!r}; truncation='auto' leaves "
                "old turns out."
            )
        limiter = ConcurrencyLimiter(given.get("max_concurrency"))
        retry_policy = as_policy(given.get("retry"))
        tool_executor = ToolExecutor(given.get("tools"))
        response_format = None if response_model is None else ResponseFormat.of(response_model)
        compactor = None if compact is None else Compactor(compact)
        prices = given.get("prices")
        own_prices = None if prices is None else read_prices(prices)
        max_cost = given.get("max_cost")
        usage = UsageTotals(read_max_cost(max_cost))
        own_tags = read_tags(given.get("tags"))
        response_store = given.get("response_store")
        keeps_turns = response_store is not False and not isinstance(response_store, NullStore)
        cache = check_cache(given.get("cache", False), keeps_turns=keeps_turns)

        vendor = given.get("vendor")
        backend = make_backend(
            model,
            BackendOptions(
                vendor=vendor,
                api=given.get("api", "auto"),
                use_responses_api=given.get("use_responses_api"),
                base_url=given.get("base_url"),
                api_key=read_key(given.get("api_key")),
                engine=given.get("engine"),
                requests_per_minute=given.get("requests_per_minute"),
                tokens_per_minute=given.get("tokens_per_minute"),
                transport=given.get("transport"),
                max_response_bytes=given.get("max_response_bytes"),
                wait_max=retry_policy.wait_max,
            ),
            settings,
        )
        known_prices = backend.list_prices if own_prices is None else own_prices
        if max_cost is not None:
            check_has_price(model, known_prices)
        auto_store_responses = given.get("auto_store_responses")
        defaults = backend.api.read_options(options)
        self._starts_from_head = _may_start_from_head(
            backend.api, keeps_turns, auto_store_responses
        )
        self._moves_head = _first_given(auto_store_responses, settings.auto_store_responses, True)
        store = open_store(settings.store if response_store is None else response_store)

        self._config = LMConfig(
            model=model,
            vendor=backend,
            store=store,
            defaults=defaults,
            system_message=system_message,
            tools=tool_executor,
            response_format=response_format,
            retry=retry_policy,
            limiter=limiter,
            prices=known_prices,
            usage=usage,
            tags=own_tags,
            cache=cache,
            compactor=compactor,
        )
        self.responses = StoredResponses(self._config)
        self._head = Head()

        self._is_fork = False
        self._is_detached = False
        self._owns_backend = not isinstance(vendor, VendorBase)
        self._owns_store = not isinstance(response_store, ResponseStore)

    # --- one call ---------------------------------------------------------------------------

    @overload
    def respond_async(
        self, *texts: str, **arguments: Unpack[UnshapedArguments]
    ) -> Coroutine[Any, Any, BaseLMResponse[AnswerT]]: ...
    @overload
    def respond_async(
        self, *texts: str, response_model: Schema | None, **arguments: Unpack[UnshapedArguments]
    ) -> Coroutine[Any, Any, BaseLMResponse]: ...
    @overload
    def respond_async(
        self, *texts: str, response_model: TypeForm[ShapeT], **arguments: Unpack[UnshapedArguments]
    ) -> Coroutine[Any, Any, BaseLMResponse[ShapeT]]: ...
    @show_arguments(CallArguments)
    def respond_async(
        self, *texts: str, **arguments: Unpack[CallArguments]
    ) -> Coroutine[Any, Any, BaseLMResponse]:
        """Answer a prompt.

        Args:
            *texts: one string is the user's message, two are (system, user).
            **arguments: see `CallArguments`; all others are options for this call, on top of the
                LM's own.

        Returns:
            A coroutine of the response. The call starts from the head as it is now, not as it is
            when awaited.

        Raises:
            SynthAIError: see `synth_ai.errors`.
        """
        return self._respond(texts, arguments)

    @overload
    def respond_sync(
        self, *texts: str, **arguments: Unpack[UnshapedArguments]
    ) -> BaseLMResponse[AnswerT]: ...
    @overload
    def respond_sync(
        self, *texts: str, response_model: Schema | None, **arguments: Unpack[UnshapedArguments]
    ) -> BaseLMResponse: ...
    @overload
    def respond_sync(
        self, *texts: str, response_model: TypeForm[ShapeT], **arguments: Unpack[UnshapedArguments]
    ) -> BaseLMResponse[ShapeT]: ...
    @show_arguments(CallArguments)
    def respond_sync(self, *texts: str, **arguments: Unpack[CallArguments]) -> BaseLMResponse:
        """Answer a prompt, without `await`; also where an event loop is already running."""
        return sync.run(self.respond_async(*texts, **arguments))

    respond = respond_sync

    @overload
    def stream_async(
        self, *texts: str, **arguments: Unpack[UnshapedArguments]
    ) -> ResponseStream[AnswerT]: ...
    @overload
    def stream_async(
        self, *texts: str, response_model: Schema | None, **arguments: Unpack[UnshapedArguments]
    ) -> ResponseStream: ...
    @overload
    def stream_async(
        self, *texts: str, response_model: TypeForm[ShapeT], **arguments: Unpack[UnshapedArguments]
    ) -> ResponseStream[ShapeT]: ...
    @show_arguments(CallArguments)
    def stream_async(self, *texts: str, **arguments: Unpack[CallArguments]) -> ResponseStream:
        """Answer a prompt as events while the model writes, the last of which is `Completed`.

        Use `async with lm.stream_async(...) as stream: async for event in stream: ...`, then
        `stream.response`; a bare `async for` works too. Leaving early aborts the call. Entering the
        block waits for the first event, so what the server refuses is an error there; unknown
        options, and a `response_model` without a schema, are errors of this very call.
        """
        return ResponseStream(*self._open_stream(texts, arguments))

    @overload
    def stream_sync(
        self, *texts: str, **arguments: Unpack[UnshapedArguments]
    ) -> SyncResponseStream[AnswerT]: ...
    @overload
    def stream_sync(
        self, *texts: str, response_model: Schema | None, **arguments: Unpack[UnshapedArguments]
    ) -> SyncResponseStream: ...
    @overload
    def stream_sync(
        self, *texts: str, response_model: TypeForm[ShapeT], **arguments: Unpack[UnshapedArguments]
    ) -> SyncResponseStream[ShapeT]: ...
    @show_arguments(CallArguments)
    def stream_sync(self, *texts: str, **arguments: Unpack[CallArguments]) -> SyncResponseStream:
        """Answer a prompt as events, without `await`; see `stream_async`."""
        return SyncResponseStream(*self._open_stream(texts, arguments))

    def _respond(
        self, texts: tuple[str, ...], arguments: CallArguments
    ) -> Coroutine[Any, Any, BaseLMResponse]:
        call = self._call(texts, arguments)
        respond = reask.respond if reask.is_given(self._config, call) else pipeline.respond
        answer = cast(
            "CoroutineType[Any, Any, BaseLMResponse]", respond(self._config, call, self._head)
        )
        # Python's warning about a coroutine that nobody awaits names what was called.
        answer.__qualname__ = "LM.respond_async"
        return answer

    def _open_stream(
        self, texts: tuple[str, ...], arguments: CallArguments
    ) -> tuple[AsyncGenerator[StreamEvent, None], StreamFacts]:
        """Return the events of a call, and what is known of its answer."""
        call = self._call(texts, arguments)
        # A stream's mistakes are told when it is made: a web service that has begun to answer with
        # it cannot take that back.
        prepare.read_options(self._config, call)
        prepare.read_call_tags(self._config, call)
        call, shape = prepare.read_shape(self._config, call)
        reask.check_stream(self._config, call, shape)
        facts = StreamFacts(shape)
        return pipeline.stream(self._config, call, self._head, facts), facts

    def _call(self, texts: tuple[str, ...], arguments: CallArguments) -> Call:
        self._config.lifetime.check()
        own_arguments, options = split_call_arguments(arguments)
        auto_store = own_arguments.get("auto_store")
        if self._is_detached and auto_store:
            raise RequestError(
                "auto_store=True is not for a detached LM, which has no head: use lm.fork(), or "
                "continue from a response with previous_response_id=."
            )

        starts_from_head = self._starts_from_head or auto_store is True
        moves_head = self._moves_head if auto_store is None else auto_store
        return Call(
            texts=texts,
            arguments=own_arguments,
            options=options,
            ticket=self._head.take(),
            starts_from_head=starts_from_head,
            moves_head=starts_from_head and moves_head,
        )

    @show_arguments(CallArguments)
    async def count_tokens_async(
        self, *texts: str, **arguments: Unpack[CallArguments]
    ) -> TokenCount:
        """Count the tokens that the prompt of a call has, without sending anything.

        The conversation before it, the system message and the tools count as well. On harmony the
        prompt is rendered and the count exact; elsewhere it is an estimate, and says so.

        Args:
            *texts: as for `respond_async`.
            **arguments: as for `respond_async`.

        Raises:
            UnknownResponseError: only a server has the conversation that the call continues.
            SynthAIError: the call cannot be made as written.
        """
        return await pipeline.count_tokens(self._config, self._call(texts, arguments))

    @show_arguments(CallArguments)
    def count_tokens(self, *texts: str, **arguments: Unpack[CallArguments]) -> TokenCount:
        """Count the tokens of a call's prompt, without `await`; see `count_tokens_async`."""
        return sync.run(self.count_tokens_async(*texts, **arguments))

    # --- many calls -------------------------------------------------------------------------

    @overload
    async def respond_batch_async(
        self,
        prompts: Sequence[BatchPrompt],
        *,
        return_exceptions: Literal[False] = False,
        progress: bool = False,
        **arguments: Unpack[UnshapedArguments],
    ) -> list[BaseLMResponse[AnswerT]]: ...
    @overload
    async def respond_batch_async(
        self,
        prompts: Sequence[BatchPrompt],
        *,
        return_exceptions: bool,
        progress: bool = False,
        **arguments: Unpack[UnshapedArguments],
    ) -> list[BaseLMResponse[AnswerT] | BaseException]: ...
    @overload
    async def respond_batch_async(
        self,
        prompts: Sequence[BatchPrompt],
        *,
        response_model: Schema | None,
        return_exceptions: bool = False,
        progress: bool = False,
        **arguments: Unpack[UnshapedArguments],
    ) -> list[Any]: ...
    @overload
    async def respond_batch_async(
        self,
        prompts: Sequence[BatchPrompt],
        *,
        response_model: TypeForm[ShapeT],
        return_exceptions: Literal[False] = False,
        progress: bool = False,
        **arguments: Unpack[UnshapedArguments],
    ) -> list[BaseLMResponse[ShapeT]]: ...
    @overload
    async def respond_batch_async(
        self,
        prompts: Sequence[BatchPrompt],
        *,
        response_model: TypeForm[ShapeT],
        return_exceptions: bool,
        progress: bool = False,
        **arguments: Unpack[UnshapedArguments],
    ) -> list[BaseLMResponse[ShapeT] | BaseException]: ...
    @show_arguments(CallArguments)
    async def respond_batch_async(
        self,
        prompts: Sequence[BatchPrompt],
        *,
        return_exceptions: bool = False,
        progress: bool = False,
        **arguments: Unpack[CallArguments],
    ) -> list[Any]:
        """Answer many prompts at once, each on its own.

        None of them continues another, and the head stays where it is.

        Args:
            prompts: each a string, a `(system, user)` pair, a list of messages, or a dict of
                `respond_async`'s arguments.
            return_exceptions: put a failed call's error in its place instead of raising it.
            progress: show a progress bar (the extra of that name).
            **arguments: arguments for every call, as for `respond_async`; those of a prompt's own
                dict come before them. `previous_response_id=` makes each of them a fork of that
                response.

        Returns:
            The responses, in the order of the prompts.

        Raises:
            OptionError: `response_model` has no schema, before anything is sent.
            SynthAIError: the first error, once every other call has ended.
        """
        check_progress(progress)
        calls = as_calls(prompts)
        if arguments.get("response_model") is not None:
            arguments["response_model"] = ResponseFormat.of(arguments["response_model"])
        vendor = self._config.vendor.for_batch(len(calls))
        single = self._derive(
            Head(), starts_from_head=False, config=replace(self._config, vendor=vendor)
        )

        coroutines = []
        for texts, own_arguments in calls:
            call_arguments: Any = {**arguments, **own_arguments}
            coroutines.append(single.respond_async(*texts, **call_arguments))
        return await gather(coroutines, return_exceptions=return_exceptions, progress=progress)

    @overload
    def respond_batch(
        self,
        prompts: Sequence[BatchPrompt],
        *,
        return_exceptions: Literal[False] = False,
        progress: bool = False,
        **arguments: Unpack[UnshapedArguments],
    ) -> list[BaseLMResponse[AnswerT]]: ...
    @overload
    def respond_batch(
        self,
        prompts: Sequence[BatchPrompt],
        *,
        return_exceptions: bool,
        progress: bool = False,
        **arguments: Unpack[UnshapedArguments],
    ) -> list[BaseLMResponse[AnswerT] | BaseException]: ...
    @overload
    def respond_batch(
        self,
        prompts: Sequence[BatchPrompt],
        *,
        response_model: Schema | None,
        return_exceptions: bool = False,
        progress: bool = False,
        **arguments: Unpack[UnshapedArguments],
    ) -> list[Any]: ...
    @overload
    def respond_batch(
        self,
        prompts: Sequence[BatchPrompt],
        *,
        response_model: TypeForm[ShapeT],
        return_exceptions: Literal[False] = False,
        progress: bool = False,
        **arguments: Unpack[UnshapedArguments],
    ) -> list[BaseLMResponse[ShapeT]]: ...
    @overload
    def respond_batch(
        self,
        prompts: Sequence[BatchPrompt],
        *,
        response_model: TypeForm[ShapeT],
        return_exceptions: bool,
        progress: bool = False,
        **arguments: Unpack[UnshapedArguments],
    ) -> list[BaseLMResponse[ShapeT] | BaseException]: ...
    @show_arguments(CallArguments)
    def respond_batch(self, prompts: Sequence[BatchPrompt], **arguments: Any) -> list[Any]:
        """Answer many prompts at once, without `await`; see `respond_batch_async`."""
        return sync.run(self.respond_batch_async(prompts, **arguments))

    # --- tool runs --------------------------------------------------------------------------

    @overload
    async def run_tools_async(
        self, *texts: str, **arguments: Unpack[UnshapedRunArguments]
    ) -> ToolRun[AnswerT]: ...
    @overload
    async def run_tools_async(
        self, *texts: str, response_model: Schema | None, **arguments: Unpack[UnshapedRunArguments]
    ) -> ToolRun: ...
    @overload
    async def run_tools_async(
        self,
        *texts: str,
        response_model: TypeForm[ShapeT],
        **arguments: Unpack[UnshapedRunArguments],
    ) -> ToolRun[ShapeT]: ...
    @show_arguments(RunArguments)
    async def run_tools_async(self, *texts: str, **arguments: Unpack[RunArguments]) -> ToolRun:
        """Answer a prompt, running the tools that the model calls until it gives its final answer.

        Tools are functions, `Tool`s or `BaseTool` classes: those of this call, else of the branch,
        else of the LM. (A branch read back from a file has schemas alone; the functions are then
        the LM's of the same names.) The calls of one turn run at once, sync tools on threads that
        see the caller's context variables. Arguments are checked against the tool's types first. A
        `tool_choice` that forces a call holds for the first turn; from then on the model chooses.
        Cancelling the run cancels its async tools; a thread cannot be stopped, its result is
        dropped.

        Args:
            *texts: as for `respond_async`.
            max_rounds: how many times the model may call tools; 10 by default.
            on_error: `report`, the default, tells the model what went wrong, be it an exception,
                arguments that do not fit or an unknown tool; `raise` ends the run once the other
                calls of the turn have ended.
            on_step: is called with each round as it ends, and awaited if it returns an awaitable.
            approve: is asked before each tool runs, one call at a time; may be async. It takes an
                `ApprovalRequest` and returns True, `Approve(arguments=...)`, `Deny(reason)`, which
                the model is told, or `Defer()`, which leaves the call in `run.pending`. False is
                `Deny()`.
            timeout: seconds for the whole run: its calls, its tools and its hooks. The LM's own
                `timeout=` bounds each call, as always. The `total` of a `Timeout` is the run's, its
                other times are those of each call.
            max_cost: US dollars. After the round that reaches it the model is not asked again.
            **arguments: as for `respond_async`.

        Returns:
            The last response and every round. Calls to a tool that is only a schema (a plain
            pydantic model is one) end the run: they are in `run.pending`, to be answered with
            `tool_outputs={**run.outputs, call_id: ...}`.

        Raises:
            ToolRunError: a tool failed and `on_error` is `raise`, the rounds are used up, or
                `approve=` failed (an `ApprovalError`).
            SpendingCapError: the rounds have cost `max_cost`.
            TimedOutError: the time is over, of the run or of a call.
            SynthAIError: as for `respond_async`. Whatever ends a run early has the run so far as
                its `run`, a `CancelledError` too.
        """
        return await self._tool_loop(texts, arguments, whole=True).run()

    @overload
    def run_tools(
        self, *texts: str, **arguments: Unpack[UnshapedRunArguments]
    ) -> ToolRun[AnswerT]: ...
    @overload
    def run_tools(
        self, *texts: str, response_model: Schema | None, **arguments: Unpack[UnshapedRunArguments]
    ) -> ToolRun: ...
    @overload
    def run_tools(
        self,
        *texts: str,
        response_model: TypeForm[ShapeT],
        **arguments: Unpack[UnshapedRunArguments],
    ) -> ToolRun[ShapeT]: ...
    @show_arguments(RunArguments)
    def run_tools(self, *texts: str, **arguments: Unpack[RunArguments]) -> ToolRun:
        """Answer a prompt, running the tools that the model calls; see `run_tools_async`."""
        loop = self._tool_loop(texts, arguments, whole=True)
        try:
            return sync.run_with_user_code(loop.run())
        except KeyboardInterrupt as error:
            loop.note_run(error)
            raise

    @overload
    def stream_tools_async(
        self, *texts: str, **arguments: Unpack[UnshapedRunArguments]
    ) -> ToolStream[AnswerT]: ...
    @overload
    def stream_tools_async(
        self, *texts: str, response_model: Schema | None, **arguments: Unpack[UnshapedRunArguments]
    ) -> ToolStream: ...
    @overload
    def stream_tools_async(
        self,
        *texts: str,
        response_model: TypeForm[ShapeT],
        **arguments: Unpack[UnshapedRunArguments],
    ) -> ToolStream[ShapeT]: ...
    @show_arguments(RunArguments)
    def stream_tools_async(self, *texts: str, **arguments: Unpack[RunArguments]) -> ToolStream:
        """Answer a prompt, running the tools that the model calls, as events of all the rounds.

        A round has the events of its call, the last of which is `Completed(response)`, and then
        `ToolStarted` and `ToolFinished` for each tool as it begins and ends. The last event of all
        is `RunCompleted(run)`. See `run_tools_async` for the arguments, and `stream_async` for how
        a stream is read; leaving it early cancels the tools, too.
        """
        return ToolStream(self._tool_loop(texts, arguments, whole=False))

    @overload
    def stream_tools(
        self, *texts: str, **arguments: Unpack[UnshapedRunArguments]
    ) -> SyncToolStream[AnswerT]: ...
    @overload
    def stream_tools(
        self, *texts: str, response_model: Schema | None, **arguments: Unpack[UnshapedRunArguments]
    ) -> SyncToolStream: ...
    @overload
    def stream_tools(
        self,
        *texts: str,
        response_model: TypeForm[ShapeT],
        **arguments: Unpack[UnshapedRunArguments],
    ) -> SyncToolStream[ShapeT]: ...
    @show_arguments(RunArguments)
    def stream_tools(self, *texts: str, **arguments: Unpack[RunArguments]) -> SyncToolStream:
        """Answer a prompt, running tools, as events, without `await`; see `stream_tools_async`."""
        return SyncToolStream(self._tool_loop(texts, arguments, whole=False))

    def _tool_loop(
        self, texts: tuple[str, ...], arguments: RunArguments, *, whole: bool
    ) -> ToolLoop:
        """Make the loop of a run.

        Args:
            texts: the prompt strings of its first call.
            arguments: its arguments.
            whole: whether answers come whole, or as they are written.
        """
        options, call_arguments = split_arguments(arguments, self._config)
        config = make_run_config(self._config, options)
        runner = self._derive(self._head, starts_from_head=self._starts_from_head, config=config)
        runner._is_detached = self._is_detached
        return ToolLoop(
            runner._answer_whole if whole else runner._stream,
            head=self._head,
            config=config,
            options=options,
            prompt=texts,
            arguments=call_arguments,
        )

    def _stream(
        self, texts: tuple[str, ...], arguments: CallArguments
    ) -> AsyncGenerator[StreamEvent, None]:
        """Answer a prompt as the events of a stream."""
        events, _ = self._open_stream(texts, arguments)
        return events

    async def _answer_whole(
        self, texts: tuple[str, ...], arguments: CallArguments
    ) -> AsyncGenerator[StreamEvent, None]:
        """Answer a prompt as a stream of one event."""
        yield Completed(await self._respond(texts, arguments))

    # --- branches ---------------------------------------------------------------------------

    @property
    def head(self) -> str | None:
        """The id of the response that the next call continues from; None at the start."""
        current = self._head.current
        return None if current is None else current.id

    def fork(self, response_id: str | None = None) -> Self:
        """Make a light LM with its own head, on the same backend and store.

        Branches that were forked from one response may be used at the same time.

        Args:
            response_id: the response to continue from; the head of this LM by default.
        """
        start = self._head.current
        if response_id is not None:
            start = Parent(check_id(response_id, "response_id"), None)
        return self._derive(Head(start), starts_from_head=True)

    def detached(self) -> Self:
        """Make a light LM without a head, on the same backend and store.

        No call of it continues another unless it says so by `previous_response_id=` or
        `continue_known=True`; the rounds of one `run_tools` still do. It suits adapters and
        services, whose callers bring the conversation along.
        """
        other = self._derive(Head(), starts_from_head=False)
        other._is_detached = True
        return other

    def reset(self) -> None:
        """Begin a new conversation with the next call.

        Earlier responses can still be continued by their ids.
        """
        self._head.reset()

    def tree(
        self, response_id: str | None = None, *, color_by: Literal["reward"] | None = None
    ) -> Tree:
        """Return the conversations in the store as a tree to look at.

        It prints in a terminal and draws itself in a notebook, with rewards and tags where there
        are any.

        Args:
            response_id: a response; the tree is then its conversation alone, from the first turn
                on, with all branches.
            color_by: `reward` to colour the turns that have one, from red to green.

        Raises:
            UnknownResponseError: there is no such response in the store.
            OptionError: `color_by` is anything else.
        """
        turns = sync.run(read_tree(self._config.store, response_id))
        return Tree.of(turns, self.head, color_by)

    def _derive(
        self, head: Head, *, starts_from_head: bool, config: LMConfig | None = None
    ) -> Self:
        """Make an LM that shares everything with this one but its head, and perhaps its config."""
        other = copy.copy(self)
        other._is_fork = True
        other._is_detached = False
        if config is not None:
            other._config = config
            other.responses = StoredResponses(config)
        other._head = head
        other._starts_from_head = starts_from_head
        other._owns_backend = False
        other._owns_store = False
        return other

    # --- the backend ------------------------------------------------------------------------

    @property
    def model(self) -> str:
        """The model's name, as given."""
        return self._config.model

    @property
    def api_type(self) -> str:
        """The name of the API that this LM speaks."""
        return self._config.vendor.api.name

    @property
    def engine(self) -> Engine | None:
        """The engine that runs the model; None if a server does.

        `await lm.engine.restart()` loads one again that has died, for everyone who shares it.
        """
        return self._config.vendor.engine

    def accepts(self, argument: str) -> bool:
        """Tell whether the calls of this LM take an argument.

        These are the options of its API, by every name that it takes, and the arguments that every
        LM has, such as `tools`. Adapters drop by this what they were given for another API.
        """
        return argument in CALL_ARGUMENTS or self._config.vendor.api.accepts(argument)

    @property
    def auto_store_responses(self) -> bool:
        """Whether a call's turn becomes the head, unless the call says otherwise."""
        return self._starts_from_head and self._moves_head

    @property
    def totals(self) -> Totals:
        """What the calls of this LM and its forks have used so far: calls, tokens, US dollars."""
        return self._config.usage.totals

    async def models_async(self) -> list[str]:
        """Return the names of the models that the server has."""
        self._config.lifetime.check()
        return await self._config.retry.run(self._config.vendor.models)

    def models(self) -> list[str]:
        """Return the names of the models that the server has, without `await`."""
        return sync.run(self.models_async())

    async def aclose(self) -> None:
        """Close what this LM opened: connections, its share of the engine, the store.

        A fork leaves them open. Calls of an LM that is closed, and of its forks, are errors.
        """
        if not self._is_fork:
            self._config.lifetime.is_over = True
        owns_backend, self._owns_backend = self._owns_backend, False
        owns_store, self._owns_store = self._owns_store, False
        try:
            if owns_backend:
                await self._config.vendor.aclose()
        finally:
            if owns_store:
                await self._config.store.aclose()

    def close(self) -> None:
        """Close what this LM opened, without `await`; see `aclose`."""
        sync.run(self.aclose())

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

    if not TYPE_CHECKING:
        # Type checkers name what is misspelled by themselves, unless they see this method.
        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}."
                f"{_suggest_method(name, dir(type(self)))}"
            )

    def __copy__(self) -> Self:
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise RequestError(
            "An LM cannot be pickled or copied deeply: it has connections, a store and keys. "
            "Make one in each process, such as in the initializer= of a pool "
            "(multiprocessing.Pool(initializer=make_lm)), or share it among threads; "
            "lm.fork() makes a light one in this process."
        )

    def __repr__(self) -> str:
        return f"LM({self.model!r}, api={self.api_type!r}, head={self.head!r})"


def _may_start_from_head(api: API, keeps_turns: bool, auto_store_responses: bool | None) -> bool:
    """Tell whether a call continues the one before unless it says otherwise.

    Args:
        api: the backend's.
        keeps_turns: whether there is a store.
        auto_store_responses: what the caller wants.

    Raises:
        OptionError: the caller wants calls to chain, and they cannot.
    """
    has_history = api.keeps_responses or keeps_turns
    if auto_store_responses and not api.chains:
        raise OptionError(
            f"auto_store_responses=True is not for the {api.name} API, whose calls continue only "
            "when told: use previous_response_id= or lm.fork()."
        )
    if auto_store_responses and not has_history:
        raise OptionError(
            "auto_store_responses=True and response_store=False contradict each other on "
            f"{api.name}: no server keeps the turns, so a conversation needs a store to continue "
            "from."
        )
    return api.chains and has_history


def _suggest_method(name: str, methods: Iterable[str]) -> str:
    """Suggest the method of the same words in another order, else the nearest.

    ::

        async_respond  ->  Did you mean 'respond_async'?
        stream         ->  Did you mean 'stream_async' or 'stream_sync'?
    """
    public = [method for method in methods if not method.startswith("_")]
    words = set(name.split("_"))
    same = [method for method in public if set(method.split("_")) == words]
    longer = [method for method in public if words < set(method.split("_"))]
    meant = same or longer[:2]
    if not meant:
        return did_you_mean(name, public)
    return f" Did you mean {' or '.join(map(repr, meant))}?"


def _first_given(*values: bool | None) -> bool:
    return next(value for value in values if value is not None)
