"""Which backend an LM gets: from what was given, the environment and the model's name to a `VendorBase`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from synth_ai.engines.base import Engine
from synth_ai.errors import MissingExtraError, MissingKeyError, OptionError, RoutingError
from synth_ai.lm.prices import PRICES
from synth_ai.lm.vendors import families as routing
from synth_ai.lm.vendors.base import VendorBase
from synth_ai.lm.vendors.families import Route
from synth_ai.settings import Settings, check_url

OPENAI_BASE_URL = "https://api.openai.com/v1"

#: The openai SDK refuses to be made without a key; servers without authentication never look at it.
_NO_KEY = "EMPTY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """What the caller said about where the model is."""

    vendor: str | VendorBase | None = None
    api: str = "auto"
    use_responses_api: bool | None = None
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    engine: Engine | Mapping[str, Any] | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    transport: str | None = None


def make_vendor(model: str, where: Where, settings: Settings) -> VendorBase:
    """The backend for `model`.

    Raises:
        ConfigurationError: what was given contradicts itself, or something needed is missing.
    """
    _check(where)
    if isinstance(where.vendor, VendorBase):
        return where.vendor
    if isinstance(where.engine, Engine):
        return _harmony(where.engine, where)
    if where.engine is not None:
        return _harmony(_in_process(model, where.engine), where)
    base_url = (
        None if where.base_url is None else check_url(where.base_url, "base_url", OptionError)
    )
    use_responses = (
        settings.use_responses_api if where.use_responses_api is None else where.use_responses_api
    )
    route = routing.choose(
        model,
        api=where.api,
        vendor=where.vendor,
        base_url=base_url,
        use_responses_api=use_responses,
    )
    if route.api == "harmony":
        return _harmony(_engine(model, base_url, where.api_key, settings), where)
    return _hosted(route, base_url, where, settings)


def _check(where: Where) -> None:
    if isinstance(where.vendor, VendorBase):
        beside: Mapping[str, Any] = {
            "base_url": where.base_url,
            "api_key": where.api_key,
            "engine": where.engine,
            "requests_per_minute": where.requests_per_minute,
            "tokens_per_minute": where.tokens_per_minute,
            "transport": where.transport,
        }
        extra = [name for name, value in beside.items() if value is not None]
        if where.api not in ("auto", where.vendor.api_type):
            extra.append(f"api={where.api!r}")
        if (where.vendor.api_type, where.use_responses_api) in (
            ("chat", True),
            ("responses", False),
        ):
            extra.append("use_responses_api")
        if extra:
            raise OptionError(
                f"A vendor object brings its own API and address; leave out {', '.join(extra)}."
            )
    if where.engine is not None:
        if not isinstance(where.engine, (Engine, Mapping)):
            raise OptionError(
                f"engine={where.engine!r} is no Engine; it takes a VLLMEngine, a RemoteEngine, your own, or "
                "a dict of vLLM's engine arguments."
            )
        if where.api not in ("auto", "harmony"):
            raise OptionError(
                f"An engine runs Harmony, so engine= and api={where.api!r} contradict each other."
            )
        if where.vendor not in (None, "vllm"):
            raise OptionError(
                f"engine= and vendor={where.vendor!r} contradict each other; give one of them."
            )
        if where.base_url is not None or where.api_key is not None:
            raise OptionError(
                "An engine knows where its model is; leave out base_url= and api_key=."
            )
    if where.api == "harmony" and where.vendor in ("openai", "synth"):
        raise OptionError(
            f"api='harmony' and vendor={where.vendor!r} contradict each other: Harmony runs on an engine. "
            "Leave out vendor=, or give base_url= of an engine that takes and returns token ids."
        )
    if where.api == "chat" and where.use_responses_api:
        raise OptionError(
            "api='chat' and use_responses_api=True contradict each other; give one of them."
        )
    if where.api == "responses" and where.use_responses_api is False:
        raise OptionError(
            "api='responses' and use_responses_api=False contradict each other; give one of them."
        )


def _harmony(engine: Engine, where: Where) -> VendorBase:
    if where.requests_per_minute is not None or where.tokens_per_minute is not None:
        raise OptionError(
            "requests_per_minute= and tokens_per_minute= are for servers that count them; an engine takes all that it "
            "can. Leave them out, or bound the calls with max_concurrency=."
        )
    if where.transport is not None:
        raise OptionError(
            f"transport={where.transport!r} is for calls to a server; leave it out for an engine."
        )
    from synth_ai.lm.vendors.gpt_oss.vendor import HarmonyVendor

    return HarmonyVendor(engine)


def _engine(model: str, base_url: str | None, api_key: str | None, settings: Settings) -> Engine:
    """The engine for Harmony: at the address given, or at the environment's, or vLLM in this process."""
    if base_url is not None or settings.harmony_endpoint is not None:
        from synth_ai.engines.vllm.server import RemoteEngine

        if base_url is not None:
            return RemoteEngine(base_url, model, api_key=api_key)
        return RemoteEngine(
            str(settings.harmony_endpoint), model, api_key=api_key or settings.synth_api_key
        )
    if api_key is not None:
        raise OptionError(
            f"api_key= was given, but {model!r} runs in this process, where nothing asks for a key. "
            "Leave it out, or give base_url= (or vendor='synth') for a server that does."
        )
    return _in_process(model, {})


def _in_process(model: str, engine_args: Mapping[str, Any]) -> Engine:
    """A share in the engine for this model and these arguments."""
    if find_spec("vllm") is None:
        raise MissingExtraError(
            f"{model!r} runs on an engine, and there is none. Either install vLLM to run it in this process "
            '(pip install "synth-ai[vllm]", with a GPU), or set SYNTH_GPU_HARMONY_ENDPOINT to a server that takes and '
            "returns token ids, or pass an engine of your own with engine=. "
            "(To talk to a chat server instead, give base_url=.)"
        )
    from synth_ai.engines.shared import shared_engine

    return shared_engine(model, **engine_args)


def _hosted(route: Route, base_url: str | None, where: Where, settings: Settings) -> VendorBase:
    address, key = _address(route, base_url, where.api_key, settings)
    if key != _NO_KEY and _is_overheard(address):
        warnings.warn(
            f"The API key goes over plain http to {urlsplit(address).hostname}; use https.",
            stacklevel=4,
        )
    from synth_ai.http.client import HTTPClient

    # An address from the environment is the openai vendor's: OpenAI's service, or something in front of it.
    is_openai = _is_openai(address) or (route.vendor == "openai" and base_url is None)
    client = HTTPClient(
        base_url=address,
        api_key=key,
        transport=where.transport or "httpx",
        openai_account=is_openai,
    )
    client.rate_limiter.cap(where.requests_per_minute, where.tokens_per_minute)
    vendor: VendorBase
    if route.api == "chat":
        from synth_ai.lm.vendors.chat import encode as chat
        from synth_ai.lm.vendors.chat.vendor import ChatVendor

        vendor = ChatVendor(client, dialect=chat.OPENAI if is_openai else chat.COMPATIBLE)
    else:
        from synth_ai.lm.vendors.responses.vendor import ResponsesVendor

        vendor = ResponsesVendor(client, remembers=route.vendor != "vllm")
    if is_openai:
        vendor.list_prices = PRICES
    return vendor


def _address(
    route: Route, base_url: str | None, api_key: str | None, settings: Settings
) -> tuple[str, str]:
    """The address and the key. A key of the environment goes to the address it belongs to, and nowhere else."""
    if route.vendor == "synth":
        address = base_url or settings.synth_base_url
        if address is None:
            raise RoutingError(
                "vendor='synth' needs an address: set SYNTH_BASE_URL, or give base_url=."
            )
        own = settings.synth_api_key if address == settings.synth_base_url else None
        return address, _key(api_key or own, "SYNTH_API_KEY", address)
    if base_url is not None and not _is_openai(base_url):
        own = settings.openai_api_key if base_url == settings.openai_base_url else None
        return base_url, _usable(api_key or own or _NO_KEY, base_url)
    address = base_url or settings.openai_base_url or OPENAI_BASE_URL
    return address, _key(api_key or settings.openai_api_key, "OPENAI_API_KEY", address)


def _key(key: str | None, variable: str, address: str) -> str:
    if key is None or not key.strip():
        raise MissingKeyError(
            f"There is no API key for {urlsplit(address).hostname}: set {variable}, or give api_key=. "
            "(For a server of your own, give base_url=; for gpt-oss in this process, use gpt-oss-20b or gpt-oss-120b.)"
        )
    return _usable(key, address)


def _usable(key: str, address: str) -> str:
    """The key without the blanks and line breaks that files and shells leave around it."""
    key = key.strip()
    if not (key.isascii() and key.isprintable()):
        raise OptionError(
            f"The API key for {urlsplit(address).hostname} has a character that no HTTP header carries: "
            "a line break, or a letter outside ASCII. Copy it again."
        )
    return key


def _is_overheard(address: str) -> bool:
    """Whether others on the way can read what is sent there."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    return (
        parts.scheme == "http" and host not in ("localhost", "::1") and not host.startswith("127.")
    )


def _is_openai(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    return host == "openai.com" or host.endswith(".openai.com")
