"""The backend of an LM: from what the caller gave, the environment and the model's name."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from synth_ai.engines.base import Engine
from synth_ai.engines.registry import make_engine
from synth_ai.errors import MissingKeyError, OptionError, RoutingError
from synth_ai.lm.api_keys import AskedKey, clean_key
from synth_ai.lm.vendors.apis import CHAT, HARMONY, RESPONSES
from synth_ai.lm.vendors.base import VendorBase
from synth_ai.lm.vendors.families import find_other_maker
from synth_ai.lm.vendors.registry import (
    OPENAI,
    Endpoint,
    Transport,
    Vendor,
    is_openai_address,
)
from synth_ai.lm.vendors.routing import Route, choose_route
from synth_ai.settings import Settings, check_url


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendOptions:
    """What the caller of `LM` said about where the model is; see there."""

    vendor: str | VendorBase | None = None
    api: str = "auto"
    use_responses_api: bool | None = None
    base_url: str | None = None
    api_key: str | AskedKey | None = field(default=None, repr=False)
    engine: Engine | Mapping[str, Any] | str | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    transport: Transport | None = None
    max_response_bytes: int | None = None
    wait_max: float = math.inf


def make_backend(model: str, options: BackendOptions, settings: Settings) -> VendorBase:
    """Make the backend for a model.

    Raises:
        ConfigurationError: what was given contradicts itself, or something needed is missing.
    """
    if isinstance(options.vendor, VendorBase):
        _check_beside_vendor(options.vendor, options)
        return options.vendor
    _check_api(options)

    if options.engine is not None:
        _check_beside_engine(options)
        return _on_engine(_as_engine(options.engine, model), options)

    base_url = options.base_url
    if base_url is not None:
        base_url = check_url(base_url, "base_url", OptionError)
    use_responses_api = options.use_responses_api
    if use_responses_api is None:
        use_responses_api = settings.use_responses_api

    route = choose_route(
        model,
        api=options.api,
        vendor=options.vendor,
        base_url=base_url,
        use_responses_api=use_responses_api,
    )
    if route.is_harmony:
        return _on_engine(_engine_for(model, base_url, options, settings), options)
    return _on_server(model, route, base_url, options, settings)


# --- what contradicts what --------------------------------------------------------------------


#: What a vendor object brings itself.
_OF_A_VENDOR = (
    "base_url",
    "api_key",
    "engine",
    "requests_per_minute",
    "tokens_per_minute",
    "transport",
    "max_response_bytes",
)


def _check_beside_vendor(vendor: VendorBase, options: BackendOptions) -> None:
    extra = [name for name in _OF_A_VENDOR if getattr(options, name) is not None]
    if options.api not in ("auto", vendor.api.name):
        extra.append(f"api={options.api!r}")
    if _is_the_other_api(vendor.api.name, options):
        extra.append("use_responses_api")

    if extra:
        raise OptionError(
            f"A vendor object brings its own API and address; leave out {', '.join(extra)}."
        )


def _check_api(options: BackendOptions) -> None:
    if options.api == HARMONY.name and options.vendor not in (None, "vllm"):
        raise OptionError(
            f"api='harmony' and vendor={options.vendor!r} contradict each other: Harmony runs on "
            "an engine. Leave out vendor=, or give base_url= of an engine that takes and returns "
            "token ids."
        )

    if _is_the_other_api(options.api, options):
        raise OptionError(
            f"api={options.api!r} and use_responses_api={options.use_responses_api} contradict "
            "each other; give one of them."
        )


def _is_the_other_api(api: str, options: BackendOptions) -> bool:
    """Tell whether `use_responses_api` chose the other one of chat and Responses."""
    if options.use_responses_api:
        return api == CHAT.name
    return options.use_responses_api is False and api == RESPONSES.name


def _check_beside_engine(options: BackendOptions) -> None:
    """Refuse what does not go with an engine."""
    if not isinstance(options.engine, (Engine, Mapping, str)):
        raise OptionError(
            "engine must be an engine such as a VLLMEngine, the name of one, or a dictionary of "
            f"its arguments, not {options.engine!r}."
        )
    if options.api not in ("auto", HARMONY.name):
        raise OptionError(
            f"An engine runs Harmony, so engine= and api={options.api!r} contradict each other."
        )
    if options.vendor not in (None, "vllm"):
        raise OptionError(
            f"engine= and vendor={options.vendor!r} contradict each other; give one of them."
        )
    if options.base_url is not None or options.api_key is not None:
        raise OptionError("An engine knows where its model is; leave out base_url= and api_key=.")


# --- on an engine -----------------------------------------------------------------------------


def _on_engine(engine: Engine, options: BackendOptions) -> VendorBase:
    if options.requests_per_minute is not None or options.tokens_per_minute is not None:
        raise OptionError(
            "requests_per_minute= and tokens_per_minute= are for servers that count them; an "
            "engine takes all that it can. Leave them out, or bound the calls with "
            "max_concurrency=."
        )
    if options.transport is not None:
        raise OptionError(
            f"transport={options.transport!r} is for calls to a server; leave it out for an engine."
        )

    if options.max_response_bytes is not None:
        raise OptionError(
            f"max_response_bytes={options.max_response_bytes!r} is for answers of a server; bound "
            "those of an engine with max_tokens=."
        )

    from synth_ai.lm.vendors.gpt_oss.vendor import HarmonyVendor

    return HarmonyVendor(engine)


def _as_engine(engine: Engine | Mapping[str, Any] | str, model: str) -> Engine:
    if isinstance(engine, Engine):
        return engine
    return make_engine(engine, model)


def _engine_for(
    model: str, base_url: str | None, options: BackendOptions, settings: Settings
) -> Engine:
    """Return the engine at the address given, or at the environment's, or in this process."""
    if base_url is not None:
        return _remote_engine(base_url, model, options.api_key)
    if settings.harmony_endpoint is not None:
        api_key = options.api_key or settings.synth_api_key
        return _remote_engine(settings.harmony_endpoint, model, api_key)

    if options.api_key is not None:
        raise OptionError(
            f"api_key= was given, but {model!r} runs in this process, where nothing asks for a "
            "key. Leave it out, or give base_url= (or vendor='synth') for a server that does."
        )
    return make_engine({}, model)


def _remote_engine(base_url: str, model: str, api_key: str | AskedKey | None) -> Engine:
    from synth_ai.engines.vllm.server import RemoteEngine

    return RemoteEngine(base_url, model, api_key=api_key)


# --- on a server ------------------------------------------------------------------------------


def _on_server(
    model: str, route: Route, base_url: str | None, options: BackendOptions, settings: Settings
) -> VendorBase:
    address = _address(route, base_url, settings)
    if options.vendor is None and base_url is None and is_openai_address(address):
        _refuse_other_makers(model)
    api_key = _api_key(route, address, options.api_key, settings)
    if api_key is not None and _can_be_overheard(address):
        host = urlsplit(address or "").hostname
        warnings.warn(f"The API key goes over plain http to {host}; use https.", stacklevel=4)

    endpoint = Endpoint(
        model=model,
        base_url=address,
        api_key=api_key,
        # An address from the environment stands in for OpenAI's own service.
        is_openai=route.vendor is OPENAI or is_openai_address(address),
        requests_per_minute=options.requests_per_minute,
        tokens_per_minute=options.tokens_per_minute,
        transport=options.transport,
        max_response_bytes=options.max_response_bytes,
        wait_max=options.wait_max,
    )
    backend = route.vendor.apis[route.api](endpoint)
    if not isinstance(backend, VendorBase):
        raise OptionError(
            f"What the vendor {route.vendor.name!r} makes for the {route.api} API must be a "
            f"VendorBase, not {backend!r}."
        )
    return backend


def _refuse_other_makers(model: str) -> None:
    """Refuse a model that OpenAI does not serve, instead of asking for a key of OpenAI's.

    Raises:
        RoutingError: it is one of those that are known to be others'.
    """
    maker = find_other_maker(model)
    if maker is None:
        return

    if maker.base_url is None:
        way_out = "a server that has it (vllm serve, Ollama, LM Studio, ...)"
    else:
        way_out = f"{maker.base_url} and api_key= for {maker.name}'s own service"
    raise RoutingError(
        f"OpenAI does not serve {model!r}. Give base_url=, such as {way_out}; any server that "
        "speaks Chat Completions or Responses will do. (vendor='openai' sends the call to OpenAI "
        "all the same.)"
    )


def _address(route: Route, base_url: str | None, settings: Settings) -> str | None:
    """Return the address of a route: the argument, else the environment's, else the vendor's."""
    vendor = route.vendor
    if base_url is not None:
        return base_url

    address = vendor.address(settings)
    if address is None and vendor.base_url_variable is not None:
        raise RoutingError(
            f"vendor={vendor.name!r} needs an address: set {vendor.base_url_variable}, or give "
            "base_url=."
        )
    return address


def _api_key(
    route: Route, address: str | None, given: str | AskedKey | None, settings: Settings
) -> str | AskedKey | None:
    """Return the key for an address; one of the environment goes where it belongs alone.

    Raises:
        MissingKeyError: the server asks for a key, and there is none.
    """
    if isinstance(given, AskedKey):
        return given

    vendor = route.vendor
    at_openai = is_openai_address(address)
    if vendor.api_key_variable is None:
        # A server of your own has no key in the environment, unless it is the one that
        # OPENAI_BASE_URL names.
        owner, is_required = OPENAI, at_openai
    else:
        owner, is_required = vendor, True

    key = given
    if not key:
        is_at_home = address == owner.address(settings)
        if is_at_home or (owner is OPENAI and at_openai):
            key = owner.api_key(settings)
    if key is not None and key.strip():
        host = urlsplit(address).hostname if address else "the server"
        return clean_key(key, f"The API key for {host}")

    if is_required:
        raise _missing_key(owner, address)
    return None


def _missing_key(owner: Vendor, address: str | None) -> MissingKeyError:
    host = urlsplit(address).hostname if address else owner.name
    return MissingKeyError(
        f"There is no API key for {host}: set {owner.api_key_variable}, or give api_key=. (For a "
        "server of your own, give base_url=; for gpt-oss in this process, use gpt-oss-20b or "
        "gpt-oss-120b.)"
    )


def _can_be_overheard(address: str | None) -> bool:
    """Tell whether others on the way can read what is sent there."""
    parts = urlsplit(address or "")
    host = parts.hostname or ""
    is_local = host in ("localhost", "::1") or host.startswith("127.")
    return parts.scheme == "http" and not is_local
