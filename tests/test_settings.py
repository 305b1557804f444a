"""The environment: every variable read, bad values named, keys kept out of sight."""

from __future__ import annotations

import pytest

from synth_ai.errors import ConfigurationError, SettingError
from synth_ai.settings import Settings

SWITCHES = ("SYNTH_AI_AUTO_STORE_RESPONSES", "SYNTH_AI_USE_RESPONSES_API")
ADDRESSES = (
    "OPENAI_BASE_URL",
    "SYNTH_BASE_URL",
    "SYNTH_GPU_HARMONY_ENDPOINT",
    "LEARNING_V2_MODAL_URL",
)


def test_every_variable_is_read() -> None:
    """Each variable reaches its own field."""
    settings = Settings.from_environment(
        {
            "OPENAI_API_KEY": "sk-1",
            "OPENAI_BASE_URL": "https://one.test/v1/",
            "SYNTH_API_KEY": "sk-2",
            "SYNTH_BASE_URL": "https://two.test",
            "SYNTH_GPU_HARMONY_ENDPOINT": "http://localhost:9000/v1",
            "SYNTH_AI_AUTO_STORE_RESPONSES": "false",
            "SYNTH_AI_USE_RESPONSES_API": "true",
            "SYNTH_AI_STORE": "turns.db",
            "LEARNING_V2_MODAL_URL": "https://three.test/openai/v1",
        }
    )
    assert settings == Settings(
        openai_api_key="sk-1",
        openai_base_url="https://one.test/v1",
        synth_api_key="sk-2",
        synth_base_url="https://two.test",
        harmony_endpoint="http://localhost:9000/v1",
        auto_store_responses=False,
        use_responses_api=True,
        store="turns.db",
        learning_v2_modal_url="https://three.test/openai/v1",
    )


def test_an_empty_environment_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset and empty are the same, and the process's own environment is the default."""
    empty = dict.fromkeys(
        (*SWITCHES, *ADDRESSES, "OPENAI_API_KEY", "SYNTH_API_KEY", "SYNTH_AI_STORE"), ""
    )
    assert Settings.from_environment(empty) == Settings.from_environment({}) == Settings()
    monkeypatch.setenv("SYNTH_AI_STORE", "here.db")
    assert Settings.from_environment().store == "here.db"


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("FALSE", False), (" 1 ", True), ("0", False), ("on", True), ("no", False)],
)
def test_switches_take_the_usual_words(name: str, text: str, value: bool) -> None:
    """Case and blanks do not matter."""
    settings = Settings.from_environment({name: text})
    assert value in (settings.auto_store_responses, settings.use_responses_api)


def test_auto_leaves_the_api_open() -> None:
    """`auto` is a value of the one variable that has a third choice."""
    assert (
        Settings.from_environment({"SYNTH_AI_USE_RESPONSES_API": "Auto"}).use_responses_api is None
    )
    with pytest.raises(
        SettingError, match="SYNTH_AI_AUTO_STORE_RESPONSES is 'auto'; it takes true or false"
    ):
        Settings.from_environment({"SYNTH_AI_AUTO_STORE_RESPONSES": "auto"})


@pytest.mark.parametrize("name", SWITCHES)
def test_a_bad_switch_is_named(name: str) -> None:
    """The error names the variable, its value and what it takes."""
    with pytest.raises(SettingError, match=f"{name} is 'maybe'.*true or false") as raised:
        Settings.from_environment({name: "maybe"})
    assert isinstance(raised.value, ConfigurationError)


@pytest.mark.parametrize("name", ADDRESSES)
@pytest.mark.parametrize("text", ["localhost:8000", "ftp://host", "http://", "/v1", "http://[::1"])
def test_a_bad_address_is_named(name: str, text: str) -> None:
    """An address without a scheme would fail much later, and far from its cause."""
    with pytest.raises(SettingError, match=f"{name} is .*http://localhost:8000/v1"):
        Settings.from_environment({name: text})


@pytest.mark.parametrize("scheme", ["http://", "ftp://", "http://[", ""])
def test_a_password_in_an_address_is_not_shown(scheme: str) -> None:
    """Also if the address is wrong in another way, as errors end in logs."""
    with pytest.raises(SettingError, match="OPENAI_BASE_URL") as raised:
        Settings.from_environment({"OPENAI_BASE_URL": f"{scheme}me:sesame@host/v1"})
    assert "sesame" not in str(raised.value)


def test_keys_are_not_shown() -> None:
    """Settings may end in a log."""
    shown = repr(
        Settings.from_environment({"OPENAI_API_KEY": "sk-secret-1", "SYNTH_API_KEY": "sk-secret-2"})
    )
    assert "secret" not in shown
