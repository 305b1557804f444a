"""Which backend an LM gets, and which key goes where.

It follows from arguments and the environment; what contradicts is refused.
"""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest

from servers.answers import Raw
from servers.openai_fake import OpenAIServer
from synth_ai import LM, MemoryStore
from synth_ai.engines import registry as engines
from synth_ai.errors import (
    ConfigurationError,
    MissingExtraError,
    MissingKeyError,
    OptionError,
    RoutingError,
    SettingError,
)
from synth_ai.lm.vendors.backend import BackendOptions, make_backend
from synth_ai.lm.vendors.chat import encode as chat
from synth_ai.lm.vendors.chat.vendor import ChatVendor
from synth_ai.lm.vendors.responses.vendor import ResponsesVendor
from synth_ai.settings import Settings
from synth_ai.testing import ScriptedEngine, ScriptedVendor

OPENAI = "https://api.openai.com/v1"
LOCAL = "http://localhost:8000/v1"
SECRET = "sk-secret-0123456789"


def client_of(model: str, settings: Settings | None = None, **where: Any) -> Any:
    """The client behind a hosted model."""
    vendor = make_backend(model, BackendOptions(**where), settings or Settings())
    assert isinstance(vendor, (ChatVendor, ResponsesVendor))
    return vendor._client


def key_of(client: Any) -> str:
    """The key that its requests go out with."""
    authorization: str = client._pools._make_pool().transport.headers["Authorization"]
    return authorization.removeprefix("Bearer ")


# --- addresses and keys -----------------------------------------------------------------------

ENVIRONMENT = Settings(
    openai_api_key="openai-key", synth_api_key="synth-key", synth_base_url="https://synth.test/v1"
)

KEYS: dict[str, tuple[dict[str, Any], Settings, str, str]] = {
    "openai, from the environment": ({}, ENVIRONMENT, OPENAI, "openai-key"),
    "openai, by argument": ({"api_key": "mine"}, ENVIRONMENT, OPENAI, "mine"),
    "openai by its address": ({"base_url": OPENAI}, ENVIRONMENT, OPENAI, "openai-key"),
    "a regional address of openai": (
        {"base_url": "https://eu.api.openai.com/v1"},
        ENVIRONMENT,
        "https://eu.api.openai.com/v1",
        "openai-key",
    ),
    "synth": ({"vendor": "synth"}, ENVIRONMENT, "https://synth.test/v1", "synth-key"),
    "synth, by argument": (
        {"vendor": "synth", "api_key": "mine"},
        ENVIRONMENT,
        "https://synth.test/v1",
        "mine",
    ),
    "a server of one's own": ({"base_url": LOCAL}, ENVIRONMENT, LOCAL, "EMPTY"),
    "a server of one's own, with a key": (
        {"base_url": LOCAL, "api_key": "mine"},
        ENVIRONMENT,
        LOCAL,
        "mine",
    ),
    "the openai vendor elsewhere": (
        {"base_url": LOCAL, "vendor": "openai"},
        ENVIRONMENT,
        LOCAL,
        "EMPTY",
    ),
    "a name that only looks like openai": (
        {"base_url": "https://api.openai.com.evil.test/v1"},
        ENVIRONMENT,
        "https://api.openai.com.evil.test/v1",
        "EMPTY",
    ),
    "a host that ends in openai's letters": (
        {"base_url": "https://notopenai.com/v1"},
        ENVIRONMENT,
        "https://notopenai.com/v1",
        "EMPTY",
    ),
    "the key belongs to the environment's address": (
        {},
        Settings(openai_api_key="proxy-key", openai_base_url="https://proxy.test/v1"),
        "https://proxy.test/v1",
        "proxy-key",
    ),
    "that address written out": (
        {"base_url": "https://proxy.test/v1/"},
        Settings(openai_api_key="proxy-key", openai_base_url="https://proxy.test/v1"),
        "https://proxy.test/v1",
        "proxy-key",
    ),
    "a proxy's key is not for another server": (
        {"base_url": LOCAL},
        Settings(openai_api_key="proxy-key", openai_base_url="https://proxy.test/v1"),
        LOCAL,
        "EMPTY",
    ),
    "a proxy's key is not for openai": (
        {"base_url": OPENAI, "api_key": "mine"},
        Settings(openai_api_key="proxy-key", openai_base_url="https://proxy.test/v1"),
        OPENAI,
        "mine",
    ),
    "synth's key is not for another server": (
        {"vendor": "synth", "base_url": "https://elsewhere.test/v1", "api_key": "mine"},
        ENVIRONMENT,
        "https://elsewhere.test/v1",
        "mine",
    ),
}


@pytest.mark.parametrize(("where", "settings", "address", "key"), KEYS.values(), ids=KEYS)
def test_a_key_goes_to_its_own_address(
    where: dict[str, Any], settings: Settings, address: str, key: str
) -> None:
    """A key of the environment is sent to the address that it belongs to, and nowhere else."""
    client = client_of("gpt-4o", settings, **where)
    assert (client.base_url, key_of(client)) == (address, key)


def test_a_key_from_a_file() -> None:
    """A line break at its end is not part of it.

    One inside would break the header, and is told without showing it.
    """
    for where in ({}, {"base_url": LOCAL}):
        client = client_of("gpt-4o", api_key=f" {SECRET}\n", **where)
        assert key_of(client) == SECRET
        for broken in (f"{SECRET}\n{SECRET}", f"{SECRET}é"):
            with pytest.raises(OptionError, match="cannot be sent in an HTTP header") as raised:
                client_of("gpt-4o", api_key=broken, **where)
            assert SECRET not in str(raised.value)


def test_synth_s_key_stays_with_synth() -> None:
    """A foreign address with `vendor="synth"` does not get the environment's key."""
    with pytest.raises(MissingKeyError, match=r"elsewhere\.test.*SYNTH_API_KEY|api_key="):
        client_of("gpt-oss-20b", ENVIRONMENT, vendor="synth", base_url="https://elsewhere.test/v1")


@pytest.mark.parametrize("key", [None, "", "  "])
def test_a_missing_key(key: str | None) -> None:
    """Told when the LM is made, with the variable and the other ways out."""
    with pytest.raises(
        MissingKeyError, match=r"api\.openai\.com: set OPENAI_API_KEY, or give api_key=.*base_url="
    ):
        client_of("gpt-4o", api_key=key)
    with pytest.raises(MissingKeyError, match=r"synth\.test: set SYNTH_API_KEY"):
        client_of(
            "gpt-oss-20b",
            Settings(synth_base_url="https://synth.test"),
            vendor="synth",
            api_key=key,
        )


def test_synth_needs_an_address() -> None:
    """There is no public one to guess."""
    with pytest.raises(RoutingError, match=r"set SYNTH_BASE_URL, or give base_url="):
        client_of("gpt-oss-20b", vendor="synth")


@pytest.mark.parametrize("address", ["localhost:8000", "ftp://x.test", "http://"])
def test_an_address_that_is_none(address: str) -> None:
    """Named before the first call."""
    with pytest.raises(OptionError, match=r"base_url is .*http://localhost:8000/v1"):
        client_of("gpt-4o", base_url=address)


def test_a_bad_variable_is_named_when_the_lm_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at the first call, and not taken for the default."""
    monkeypatch.setenv("SYNTH_AI_USE_RESPONSES_API", "perhaps")
    with pytest.raises(SettingError, match="SYNTH_AI_USE_RESPONSES_API is 'perhaps'"):
        LM("gpt-4o", api_key="k")


# --- the API ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "argument", "api"),
    [
        (None, None, "responses"),
        ("auto", None, "responses"),
        ("false", None, "chat"),
        ("true", None, "responses"),
        ("false", True, "responses"),
        ("true", False, "chat"),
    ],
)
def test_use_responses_api_by_variable_and_argument(
    variable: str | None, argument: bool | None, api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The argument beats the environment, which beats the name."""
    if variable is not None:
        monkeypatch.setenv("SYNTH_AI_USE_RESPONSES_API", variable)
    assert LM("gpt-4o", api_key="k", use_responses_api=argument).api_type == api


def test_api_beats_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`api=` decides when given; a variable is no contradiction to it."""
    monkeypatch.setenv("SYNTH_AI_USE_RESPONSES_API", "true")
    assert LM("gpt-4o", api_key="k", api="chat").api_type == "chat"


def test_the_environment_s_address_does_not_leave_harmony(monkeypatch: pytest.MonkeyPatch) -> None:
    """`OPENAI_BASE_URL` is the openai vendor's.

    gpt-oss still runs on its engine, and gpt-4o on Responses there.
    """
    monkeypatch.setenv("OPENAI_BASE_URL", LOCAL)
    monkeypatch.setenv("SYNTH_GPU_HARMONY_ENDPOINT", "http://localhost:9000/v1")
    assert LM("gpt-oss-20b").api_type == "harmony"
    lm = LM("gpt-4o", api_key="k")
    assert lm.api_type == "responses"


def test_servers_are_spoken_to_in_their_own_dialect() -> None:
    """OpenAI's, or what stands in front of it by the environment, and all the others."""
    proxied = Settings(openai_api_key="k", openai_base_url="https://proxy.test/v1")
    for settings, where, dialect in (
        (Settings(), {"api": "chat", "api_key": "k"}, chat.OPENAI),
        (proxied, {"api": "chat"}, chat.OPENAI),
        (Settings(), {"base_url": LOCAL}, chat.COMPATIBLE),
    ):
        vendor = make_backend("gpt-4o", BackendOptions(**where), settings)
        assert isinstance(vendor, ChatVendor)
        assert vendor._dialect == dialect


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("claude-opus-4-5", "https://api.anthropic.com/v1 and api_key= for Anthropic's"),
        ("gemini-3-pro", "https://generativelanguage.googleapis.com"),
        ("grok-4", "https://api.x.ai/v1"),
        ("mistral-large-latest", "https://api.mistral.ai/v1"),
        ("deepseek-chat", "https://api.deepseek.com"),
        ("llama3.2", "vllm serve, Ollama"),
        ("Qwen3-8B", "vllm serve, Ollama"),
    ],
)
def test_a_model_of_somebody_else(model: str, says: str) -> None:
    """The error says where it is, and asks for no key of OpenAI's; who means it can go on."""
    for settings in (Settings(), Settings(openai_api_key="k")):
        with pytest.raises(RoutingError, match=f"does not serve '{model}'.*{says}"):
            make_backend(model, BackendOptions(), settings)

    proxied = Settings(openai_api_key="k", openai_base_url="https://proxy.test/v1")
    make_backend(model, BackendOptions(), proxied)
    make_backend(model, BackendOptions(base_url=LOCAL), Settings())
    make_backend(model, BackendOptions(vendor="openai", api_key="k"), Settings())


@pytest.mark.parametrize("api", ["responses", "chat"])
async def test_synth_is_sent_its_own_names(openai_server: OpenAIServer, api: str) -> None:
    """The published name has a prefix that the backend's list of models does not have."""
    lm = LM(
        "openai/gpt-oss-20b",
        vendor="synth",
        api=api,
        base_url=openai_server.base_url,
        api_key="sk-test",
    )
    await lm.respond_async("Hi")
    assert openai_server.bodies[-1]["model"] == "gpt-oss-20b"
    assert lm.model == "openai/gpt-oss-20b"


@pytest.mark.parametrize("transport", ["httpx", "aiohttp"])
async def test_synth_is_told_of_a_stream_twice(openai_server: OpenAIServer, transport: Any) -> None:
    """In the query, as its route has it, and in the body, as the SDK does; no other server is."""
    for where in ({"vendor": "synth"}, {"api": "responses"}):
        given: Any = where
        async with LM(
            "gpt-oss-20b",
            base_url=openai_server.base_url,
            api_key="sk-test",
            transport=transport,
            extra_query={"tenant": "a"},
            **given,
        ) as lm:
            async for _ in lm.stream_async("Hi"):
                pass
            assert (await lm.respond_async("Hi")).text == "You said: Hi"

    streamed, whole, of_another, _ = (request.query for request in openai_server.requests)
    assert streamed == {"stream": "true", "tenant": "a"}
    assert whole == of_another == {"tenant": "a"}
    assert [body.get("stream") for body in openai_server.bodies] == [True, None, True, None]


@pytest.mark.parametrize("mark", ["input_messages", "kv_transfer_params"])
async def test_synth_remembers_though_vllm_is_behind_it(
    openai_server: OpenAIServer, mark: str
) -> None:
    """It passes vLLM's own keys through, and continues from ids all the same."""
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
    output = [{**message, "content": [{"type": "output_text", "text": "Hello", "annotations": []}]}]
    openai_server.enqueue(Raw({"id": "resp_1", "object": "response", "output": output, mark: None}))
    lm = LM("gpt-oss-20b", vendor="synth", base_url=openai_server.base_url, api_key="sk-test")
    first = await lm.respond_async("Hi")
    assert first.stored_on_server
    await lm.respond_async("more")
    # (The stand-in does not know the id, so the conversation is then sent in full.)
    assert openai_server.bodies[1]["previous_response_id"] == "resp_1"


def test_a_vendor_object_and_an_engine_are_used_as_they_are() -> None:
    """Neither needs a name that is known, nor a key."""
    vendor = ScriptedVendor(api="chat")
    assert (
        make_backend("anything/at all", BackendOptions(vendor=vendor, api="chat"), Settings())
        is vendor
    )
    lm = LM("anything/at all", engine=ScriptedEngine())
    assert lm.api_type == "harmony"


def test_the_remote_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """By variable, or by `api="harmony"` with an address; the argument beats the environment."""
    from synth_ai import RemoteEngine

    monkeypatch.setenv("SYNTH_GPU_HARMONY_ENDPOINT", "http://localhost:9000/v1")
    by_variable, by_argument = LM("gpt-oss-20b"), LM("my-model", api="harmony", base_url=LOCAL)
    for lm, address in ((by_variable, "9000"), (by_argument, "8000")):
        engine = lm._config.vendor.engine  # type: ignore[attr-defined]
        assert isinstance(engine, RemoteEngine)
        assert address in repr(vars(engine))


def test_without_an_engine_the_error_names_all_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM here, a remote engine, an engine object, or a chat server."""
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(
        MissingExtraError, match=r"\.\[vllm\].*SYNTH_GPU_HARMONY_ENDPOINT.*engine=.*base_url="
    ):
        LM("gpt-oss-20b")


CONTRADICTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "vendor object and address": (
        {"vendor": ScriptedVendor(), "base_url": LOCAL},
        "leave out base_url",
    ),
    "vendor object and key": ({"vendor": ScriptedVendor(), "api_key": "k"}, "leave out api_key"),
    "vendor object and engine": (
        {"vendor": ScriptedVendor(), "engine": ScriptedEngine()},
        "leave out engine",
    ),
    "vendor object and another api": (
        {"vendor": ScriptedVendor(), "api": "chat"},
        "leave out api='chat'",
    ),
    "vendor object and the other choice": (
        {"vendor": ScriptedVendor(), "use_responses_api": False},
        "leave out use_responses_api",
    ),
    "engine and chat": (
        {"engine": ScriptedEngine(), "api": "chat"},
        "engine= and api='chat' contradict",
    ),
    "engine and address": (
        {"engine": ScriptedEngine(), "base_url": LOCAL},
        "leave out base_url= and api_key=",
    ),
    "engine and key": (
        {"engine": ScriptedEngine(), "api_key": "k"},
        "leave out base_url= and api_key=",
    ),
    "engine and hosted vendor": (
        {"engine": ScriptedEngine(), "vendor": "openai"},
        "engine= and vendor='openai'",
    ),
    "no engine": ({"engine": 5}, "engine must be an engine such as a VLLMEngine.*not 5"),
    "no vendor": (
        {"vendor": 5},
        "vendor must be one of openai, synth, vllm, or a VendorBase object, not 5",
    ),
    "chat and responses": (
        {"api": "chat", "use_responses_api": True},
        "contradict each other; give one",
    ),
    "responses and chat": (
        {"api": "responses", "use_responses_api": False},
        "contradict each other; give one",
    ),
    "harmony at a hosted vendor": (
        {"api": "harmony", "vendor": "openai"},
        "api='harmony' and vendor='openai'",
    ),
    "harmony at synth": ({"api": "harmony", "vendor": "synth"}, "api='harmony' and vendor='synth'"),
    "bad api": ({"api": "respones"}, "api must be .*not 'respones'.*mean 'responses'"),
    "temperature": ({"temperature": 3}, "temperature must be .*not 3"),
    "max_tokens": ({"max_tokens": 0}, "max_tokens must be .*not 0"),
    "effort": ({"reasoning_effort": "much"}, "reasoning_effort must be .*not 'much'"),
    "unknown": ({"temprature": 1}, "temprature= is not an option.*mean 'temperature'"),
    "stop on responses": ({"stop": "END"}, "stop= is an option of chat and harmony"),
    "reserved": ({"input": "Hi"}, "input= is not an option here"),
    "retry": ({"retry": 0}, "attempts=0"),
    "concurrency": ({"max_concurrency": 0}, "max_concurrency=0 must be"),
    "shape": ({"response_model": 5}, "response_model=5"),
    "two limits": ({"max_tokens": 5, "max_output_tokens": 5}, "same option"),
}


@pytest.mark.parametrize(("options", "message"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_options_that_cannot_be_meant(options: dict[str, Any], message: str) -> None:
    """A clear error when the LM is made; nothing is silently dropped."""
    given = options if {"vendor", "engine"} & options.keys() else {"api_key": "k", **options}
    with pytest.raises(ConfigurationError, match=message):
        LM("gpt-4o", **given)


def test_a_key_that_no_engine_looks_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process nothing asks for a key, so one given was meant for something else."""
    monkeypatch.setattr(engines, "find_spec", lambda name: object())
    with pytest.raises(OptionError, match=r"api_key=.*in this process"):
        LM("gpt-oss-20b", api_key="k")


def test_harmony_without_a_store_cannot_chain() -> None:
    """Asked for outright it is a contradiction; by default each call stands alone."""
    with pytest.raises(
        OptionError, match="auto_store_responses=True and response_store=False contradict"
    ):
        LM("x", engine=ScriptedEngine(), response_store=False, auto_store_responses=True)
    LM("x", engine=ScriptedEngine(), response_store=False)


def test_the_store_by_argument_and_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A path, an object, False, or memory; the argument beats the environment."""
    monkeypatch.setenv("SYNTH_AI_STORE", str(tmp_path / "environment.db"))
    own = MemoryStore()
    vendor = ScriptedVendor()
    assert LM("x", vendor=vendor, response_store=own)._config.store is own
    kinds = {
        None: "SQLiteStore",
        False: "NullStore",
        str(tmp_path / "argument.db"): "SQLiteStore",
    }
    for given, kind in kinds.items():
        assert type(LM("x", vendor=vendor, response_store=given)._config.store).__name__ == kind
    monkeypatch.delenv("SYNTH_AI_STORE")
    assert type(LM("x", vendor=vendor)._config.store).__name__ == "MemoryStore"


# --- secrets ----------------------------------------------------------------------------------


def test_a_key_is_not_shown() -> None:
    """Neither by the LM nor by anything it is made of, as deep as a debugger or a log prints."""
    lm = LM("gpt-4o", api_key=SECRET)
    client = lm._config.vendor._client  # type: ignore[attr-defined]
    for thing in (
        lm,
        lm._config,
        lm._config.vendor,
        client,
        lm.fork(),
        BackendOptions(api_key=SECRET),
        lm.responses,
    ):
        assert SECRET not in f"{thing!r} {thing}"
    with pytest.raises(ConfigurationError) as raised:
        LM("Qwen/Qwen3-8B", api_key=SECRET)
    assert SECRET not in str(raised.value)


def test_a_key_over_plain_http_is_warned_of() -> None:
    """To a host that is not this machine; without a key there is nothing to overhear."""
    for address in ("http://gpu-7.test:8000/v1", "http://10.0.0.7/v1"):
        with pytest.warns(
            UserWarning, match=r"plain http to (gpu-7\.test|10\.0\.0\.7); use https"
        ) as seen:
            LM("x", base_url=address, api_key=SECRET)
        assert SECRET not in str(seen[0].message)
        assert seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LM("x", base_url="http://gpu-7.test:8000/v1")
        LM("x", base_url="https://gpu-7.test/v1", api_key=SECRET)
        for here in (
            "http://localhost:8000/v1",
            "http://127.0.0.1:8000/v1",
            "http://[::1]:8000/v1",
        ):
            LM("x", base_url=here, api_key=SECRET)


def test_a_key_in_an_address_is_not_shown() -> None:
    """Some write it there, and it would go into logs and stores; the error names the way out."""
    with pytest.raises(OptionError, match="give api_key=") as raised:
        LM("gpt-oss-20b", vendor="synth", base_url=f"https://user:{SECRET}@synth.test/v1")
    assert SECRET not in str(raised.value)


def test_an_address_has_no_query() -> None:
    """Paths are put behind it."""
    with pytest.raises(OptionError, match=r"extra_query=\{\.\.\.\}"):
        LM("x", base_url="http://localhost:8000/v1?api-version=1")


def test_a_key_is_not_pickled() -> None:
    """An LM holds connections and a key, so it does not go into a pickle at all."""
    lm = LM("gpt-4o", api_key=SECRET)
    with pytest.raises(Exception, match=r"(?i)pickle"):
        pickle.dumps(lm)
