"""The environment variables that synth_ai reads, as one typed object.

An argument always beats the environment. A bad value is a `SettingError` that names the variable.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from synth_ai.errors import SettingError

# What a variable that is a switch may hold, in upper or lower case.
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True, slots=True)
class Settings:
    """The values of the variables; None for one that is unset or empty.

    Attributes:
        openai_api_key: `OPENAI_API_KEY`.
        openai_base_url: `OPENAI_BASE_URL`, used only by the openai vendor.
        synth_api_key: `SYNTH_API_KEY`.
        synth_base_url: `SYNTH_BASE_URL`.
        harmony_endpoint: `SYNTH_GPU_HARMONY_ENDPOINT`, a server that takes and returns token ids.
        auto_store_responses: `SYNTH_AI_AUTO_STORE_RESPONSES`, true or false.
        use_responses_api: `SYNTH_AI_USE_RESPONSES_API`; None also for its value `auto`.
        store: `SYNTH_AI_STORE`, the path of a store of turns.
        learning_v2_modal_url: `LEARNING_V2_MODAL_URL`, the model service behind the Synth proxy.
    """

    openai_api_key: str | None = field(default=None, repr=False)
    openai_base_url: str | None = None
    synth_api_key: str | None = field(default=None, repr=False)
    synth_base_url: str | None = None
    harmony_endpoint: str | None = None
    auto_store_responses: bool | None = None
    use_responses_api: bool | None = None
    store: str | None = None
    learning_v2_modal_url: str | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the variables from `environ`, by default those of the process.

        Raises:
            SettingError: a variable has a value that cannot be used.
        """
        env = os.environ if environ is None else environ
        return cls(
            openai_api_key=env.get("OPENAI_API_KEY") or None,
            openai_base_url=_read_url(env, "OPENAI_BASE_URL"),
            synth_api_key=env.get("SYNTH_API_KEY") or None,
            synth_base_url=_read_url(env, "SYNTH_BASE_URL"),
            harmony_endpoint=_read_url(env, "SYNTH_GPU_HARMONY_ENDPOINT"),
            auto_store_responses=_read_switch(env, "SYNTH_AI_AUTO_STORE_RESPONSES"),
            use_responses_api=_read_switch(env, "SYNTH_AI_USE_RESPONSES_API", undecided="auto"),
            store=env.get("SYNTH_AI_STORE") or None,
            learning_v2_modal_url=_read_url(env, "LEARNING_V2_MODAL_URL"),
        )


def check_url(value: str, what: str, error: type[Exception]) -> str:
    """Check that a value is the http(s) address of an API.

    Args:
        value: the address.
        what: where it was given, for the message of an error.
        error: the error to raise.

    Returns:
        The address without a slash at its end.

    Raises:
        Exception: of the type `error`; the value is not such an address.
    """
    try:
        parts = urlsplit(value)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        # An IPv6 address without its closing bracket, for example.
        is_address = False

    if not is_address:
        shown = _mask_credentials(value)
        raise error(f"{what} is {shown!r}; it takes an address such as http://localhost:8000/v1.")

    if "@" in parts.netloc:
        # The value is not shown, as it would go into logs with the message.
        raise error(
            f"{what} holds a user name or a password; give api_key=, "
            "or extra_headers={'Authorization': ...}."
        )
    if parts.query or parts.fragment:
        raise error(f"{what} is {value!r}; what follows the path goes into extra_query={{...}}.")

    return value.rstrip("/")


def _mask_credentials(value: str) -> str:
    """Mask what may be a password, also in a text that cannot be taken apart as an address."""
    before, at, after = value.rpartition("@")
    if not before:
        return value

    return f"***{at}{after}"


def _read_url(env: Mapping[str, str], name: str) -> str | None:
    value = env.get(name, "").strip()
    if not value:
        return None

    return check_url(value, f"The environment variable {name}", SettingError)


def _read_switch(env: Mapping[str, str], name: str, *, undecided: str | None = None) -> bool | None:
    """Read a variable that is true or false.

    Args:
        env: the environment.
        name: the name of the variable.
        undecided: a third value that the variable takes, which counts as unset.
    """
    value = env.get(name, "").strip().lower()
    if not value or value == undecided:
        return None

    if value in _TRUE:
        return True
    if value in _FALSE:
        return False

    choices = "true or false" if undecided is None else f"{undecided}, true or false"
    raise SettingError(f"The environment variable {name} is {env[name]!r}; it takes {choices}.")
