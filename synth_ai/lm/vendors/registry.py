"""The vendors: one row each, with their APIs, their address and where their key comes from.

To add a vendor of your own, call `register_vendor` with a row's worth of facts; see
docs/extending.md. To add one here, add a row to `_VENDORS`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import urlsplit

from synth_ai.errors import OptionError, RoutingError, SettingError, did_you_mean
from synth_ai.http.api_keys import NO_KEY, APIKey
from synth_ai.lm.prices import PRICES
from synth_ai.lm.vendors.base import VendorBase
from synth_ai.settings import Settings, check_url

if TYPE_CHECKING:
    from synth_ai.http.client import HTTPClient

Transport = Literal["aiohttp", "httpx"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where the calls of an LM go; what a backend is made from.

    Attributes:
        model: the model's name, as given.
        base_url: the server's address, without a slash at its end; None if the vendor has none.
        api_key: the server's key, or what is asked for it; None if there is none.
        is_openai: whether this is OpenAI's own service, or something that stands in for it.
        requests_per_minute: a limit that the caller set.
        tokens_per_minute: likewise for tokens, prompt and answer together.
        transport: the HTTP library to send with; None for the default.
        max_response_bytes: the most bytes of an answer; None for the default.
        wait_max: the most seconds that a call waits for the limits that the server reports.
    """

    model: str
    base_url: str | None
    api_key: APIKey | None = field(default=None, repr=False)
    is_openai: bool = False
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    transport: Transport | None = None
    max_response_bytes: int | None = None
    wait_max: float = math.inf

    def client(self) -> HTTPClient:
        """Make the client that sends calls there: connections, limits, retries' facts, errors.

        Raises:
            OptionError: there is no address.
        """
        from synth_ai.http.client import HTTPClient

        if self.base_url is None:
            raise OptionError(f"{self.model!r} needs an address: give base_url=.")
        client = HTTPClient(
            base_url=self.base_url,
            api_key=self.api_key or NO_KEY,
            transport=self.transport,
            openai_account=self.is_openai,
            max_response_bytes=self.max_response_bytes,
            wait_max=self.wait_max,
        )
        client.rate_limiter.cap(self.requests_per_minute, self.tokens_per_minute)
        return client


MakeVendor: TypeAlias = Callable[[Endpoint], VendorBase]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """One row of the registry.

    Attributes:
        name: what `vendor=` takes.
        apis: what makes the backend, by the name of the API that it speaks. The first one is the
            vendor's own choice, unless it serves models by their family.
        by_family: whether the family of a model decides the API; see `families`.
        base_url: the vendor's address.
        base_url_variable: the environment variable of another one.
        api_key_variable: the environment variable of the key.
    """

    name: str
    apis: Mapping[str, MakeVendor]
    by_family: bool = False
    base_url: str | None = None
    base_url_variable: str | None = None
    api_key_variable: str | None = None

    @property
    def default_api(self) -> str:
        """The API to speak if nothing else decides."""
        return next(iter(self.apis))

    def address(self, settings: Settings) -> str | None:
        """Return the vendor's address, that of the environment first; None if it has none.

        Raises:
            SettingError: it cannot be an address.
        """
        address = self._read(self.base_url_variable, settings)
        if address is not None:
            variable = f"The environment variable {self.base_url_variable}"
            return check_url(address, variable, SettingError)
        return self.base_url

    def api_key(self, settings: Settings) -> str | None:
        """Return the key that the environment has for the vendor; None if it has none."""
        return self._read(self.api_key_variable, settings)

    def _read(self, variable: str | None, settings: Settings) -> str | None:
        """Read a variable; `Settings` has those of the built-in vendors, in lower case."""
        if variable is None:
            return None
        if hasattr(settings, variable.lower()):
            value: str | None = getattr(settings, variable.lower())
            return value
        return os.environ.get(variable, "").strip() or None


def _make_chat(endpoint: Endpoint) -> VendorBase:
    from synth_ai.lm.vendors.chat.encode import COMPATIBLE, OPENAI
    from synth_ai.lm.vendors.chat.vendor import ChatVendor

    vendor = ChatVendor(endpoint.client(), dialect=OPENAI if endpoint.is_openai else COMPATIBLE)
    if endpoint.is_openai:
        vendor.list_prices = PRICES
    return vendor


def _make_responses(endpoint: Endpoint) -> VendorBase:
    from synth_ai.lm.vendors.responses.vendor import ResponsesVendor

    vendor = ResponsesVendor(endpoint.client())
    if endpoint.is_openai:
        vendor.list_prices = PRICES
    return vendor


def _make_vllm_responses(endpoint: Endpoint) -> VendorBase:
    """Make the backend for vLLM's Responses API, whose chained calls ignore new tools."""
    from synth_ai.lm.vendors.responses.vendor import VLLM as DIALECT
    from synth_ai.lm.vendors.responses.vendor import ResponsesVendor

    return ResponsesVendor(endpoint.client(), dialect=DIALECT)


def _make_synth_chat(endpoint: Endpoint) -> VendorBase:
    from synth_ai.lm.vendors.chat.encode import SYNTH as DIALECT
    from synth_ai.lm.vendors.chat.vendor import ChatVendor

    return ChatVendor(endpoint.client(), dialect=DIALECT)


def _make_synth_responses(endpoint: Endpoint) -> VendorBase:
    from synth_ai.lm.vendors.responses.vendor import SYNTH as DIALECT
    from synth_ai.lm.vendors.responses.vendor import ResponsesVendor

    return ResponsesVendor(endpoint.client(), dialect=DIALECT)


OPENAI = Vendor(
    name="openai",
    apis={"responses": _make_responses, "chat": _make_chat},
    by_family=True,
    base_url="https://api.openai.com/v1",
    base_url_variable="OPENAI_BASE_URL",
    api_key_variable="OPENAI_API_KEY",
)

#: A Synth backend, wherever it runs.
SYNTH = Vendor(
    name="synth",
    apis={"responses": _make_synth_responses, "chat": _make_synth_chat},
    base_url_variable="SYNTH_BASE_URL",
    api_key_variable="SYNTH_API_KEY",
)

#: `vllm serve`; without an address, vLLM in this process, which runs gpt-oss.
VLLM = Vendor(
    name="vllm",
    apis={"chat": _make_chat, "responses": _make_vllm_responses},
)

#: Any server at a `base_url`: all of them speak Chat Completions, and some Responses.
COMPATIBLE = Vendor(
    name="a compatible server",
    apis={"chat": _make_chat, "responses": _make_responses},
)

_BUILT_IN = {row.name: row for row in (OPENAI, SYNTH, VLLM)}
_VENDORS: dict[str, Vendor] = dict(_BUILT_IN)


def register_vendor(
    name: str,
    apis: Mapping[str, MakeVendor],
    *,
    base_url: str | None = None,
    base_url_variable: str | None = None,
    api_key_variable: str | None = None,
) -> None:
    """Make `LM(model, vendor=name)` work.

    Args:
        name: what `vendor=` takes. A name that you registered before is replaced.
        apis: what makes the backend, by the name of the API that it speaks: each takes an
            `Endpoint` and returns a `VendorBase`. `api=` chooses between them; the first one is
            taken if nothing does. ::

                register_vendor("acme", {"messages": lambda endpoint: AcmeVendor(endpoint)})
        base_url: the vendor's address, where `base_url=` gives no other.
        base_url_variable: the environment variable of the address.
        api_key_variable: the environment variable of the key. A key is then required, and goes to
            this address alone.

    Raises:
        OptionError: a name is already taken, or an API has nothing that makes a backend.
    """
    if not isinstance(name, str) or not name.strip():
        raise OptionError(f"The name of a vendor must be a string that is not empty, not {name!r}.")
    if name in _BUILT_IN:
        raise OptionError(f"The vendor {name!r} is built in; register yours under another name.")
    if not isinstance(apis, Mapping) or not apis:
        raise OptionError(
            "apis must be a dictionary from the name of an API to what makes its backend, "
            f"such as {{'messages': AcmeVendor}}, not {apis!r}."
        )
    for api, make in apis.items():
        if not callable(make):
            raise OptionError(
                f"apis[{api!r}] must be a function that takes an Endpoint and returns a "
                f"VendorBase, not {make!r}."
            )

    if base_url is not None:
        base_url = check_url(base_url, "base_url", OptionError)
    _VENDORS[name] = Vendor(
        name=name,
        apis=dict(apis),
        base_url=base_url,
        base_url_variable=base_url_variable,
        api_key_variable=api_key_variable,
    )


def find_vendor(name: str) -> Vendor:
    """Return the row of a vendor.

    Raises:
        RoutingError: there is none of this name.
    """
    row = _VENDORS.get(name) if isinstance(name, str) else None
    if row is None:
        raise RoutingError(
            f"vendor must be one of {', '.join(_VENDORS)}, or a VendorBase object, not {name!r}."
            f"{did_you_mean(str(name), _VENDORS)}"
        )
    return row


def known_apis() -> list[str]:
    """Return the names of all APIs, those of registered vendors included."""
    names = dict.fromkeys(("chat", "responses", "harmony"))
    for row in _VENDORS.values():
        names |= dict.fromkeys(row.apis)
    return list(names)


def is_openai_address(address: str | None) -> bool:
    """Tell whether an address is OpenAI's own, a regional one included."""
    host = urlsplit(address or "").hostname or ""
    return host == "openai.com" or host.endswith(".openai.com")
