"""Which API a model is spoken to over: every rule for names, folders, vendors and addresses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from synth_ai.errors import RoutingError
from synth_ai.lm.vendors.families import FAMILIES
from synth_ai.lm.vendors.routing import choose_route as choose

SERVER = "http://localhost:8000/v1"


def model_folder(path: Path, **files: Any) -> str:
    """A folder with these JSON files (`config` is config.json)."""
    path.mkdir()
    for name, content in files.items():
        (path / f"{name}.json").write_text(json.dumps(content))
    return str(path)


BY_NAME = {
    "gpt-oss-20b": "harmony",
    "gpt-oss-120b": "harmony",
    "openai/gpt-oss-20b": "harmony",
    "openai/gpt-oss-120b": "harmony",
    "gpt-6-astra": "responses",
    "gpt-6.1-sol": "responses",
    "gpt-5.6-terra": "responses",
    "gpt-5": "responses",
    "gpt-4o": "responses",
    "gpt-4o-mini": "responses",
    "gpt-4-turbo": "responses",
    "gpt-3.5-turbo": "responses",
    "o1-mini": "responses",
    "o3-pro": "responses",
    "o4-mini-deep-research": "responses",
    "computer-use-preview": "responses",
    "a-model-of-tomorrow": "responses",
    "gpt-audio-mini": "chat",
    "gpt-audio": "chat",
    "gpt-4o-audio-preview": "chat",
    "gpt-4o-mini-audio-preview-2024-12-17": "chat",
    "gpt-4o-search-preview": "chat",
    "gpt-4o-mini-search-preview-2025-03-11": "chat",
    "ft:gpt-4o-mini-2024-07-18:my-org::abc123": "responses",
    "ft:gpt-4o-audio-preview:my-org::abc123": "chat",
    "ft:gpt-oss-20b:my-org::abc123": "harmony",
}


@pytest.mark.parametrize(("model", "api"), BY_NAME.items(), ids=BY_NAME)
def test_the_name_alone_decides(model: str, api: str) -> None:
    """Each family goes to its API, and a fine-tune goes where its base goes."""
    route = choose(model)
    assert route.api == api
    assert route.vendor.name == ("vllm" if api == "harmony" else "openai")
    assert route.reason


def test_every_model_that_the_sdk_lists_has_a_route() -> None:
    """The table holds for all of today's names: only audio and search-preview models go to chat."""
    from openai.types.shared import ChatModel, ResponsesModel

    def names(kind: Any) -> set[str]:
        return (
            {kind}
            if isinstance(kind, str)
            else {name for part in get_args(kind) for name in names(part)}
        )

    known = names(ChatModel) | names(ResponsesModel)
    assert len(known) > 50
    on_chat = {name for name in known if choose(name).api == "chat"}
    assert on_chat == {name for name in known if "audio" in name or "search-preview" in name}
    assert {choose(name).api for name in known - on_chat} == {"responses"}


def test_the_table_gives_its_reasons() -> None:
    """Each family says why it is where it is, and the last one takes any bare name."""
    assert all(family.reason for family in FAMILIES)
    assert FAMILIES[-1].pattern.fullmatch("anything")


@pytest.mark.parametrize(
    "model", ["gpt-oss-20b", "gpt-4o", "qwen3:8b", "Qwen/Qwen3-8B", "ft:gpt-4o:o::1", "/any/path"]
)
def test_a_base_url_means_chat(model: str) -> None:
    """Every compatible server speaks Chat Completions, so any name with an address goes there."""
    assert choose(model, base_url=SERVER).api == "chat"
    assert choose(model, base_url=SERVER, vendor="vllm").vendor.name == "vllm"


@pytest.mark.parametrize("model", ["gpt-oss-20b", "gpt-4o", "Qwen/Qwen3-8B"])
def test_a_base_url_leaves_the_choice_between_chat_and_responses(model: str) -> None:
    """`api=` and `use_responses_api=` decide on a server of one's own too."""
    assert choose(model, base_url=SERVER, use_responses_api=True).api == "responses"
    assert choose(model, base_url=SERVER, use_responses_api=False).api == "chat"
    assert choose(model, base_url=SERVER, api="responses").api == "responses"
    assert choose(model, base_url=SERVER, api="harmony").api == "harmony"


@pytest.mark.parametrize("wish", [True, False])
def test_harmony_outranks_the_choice_between_chat_and_responses(wish: bool, tmp_path: Path) -> None:
    """`use_responses_api` and its variable never take gpt-oss off the engine.

    Only api, vendor and base_url do.
    """
    folder = model_folder(tmp_path / "tiny", config={"model_type": "gpt_oss"})
    for model in ("gpt-oss-20b", "openai/gpt-oss-120b", folder):
        assert choose(model, use_responses_api=wish).api == "harmony"


def test_harmony_is_left_by_api_and_vendor() -> None:
    """A person who says so gets gpt-oss from a hosted API."""
    assert choose("gpt-oss-20b", vendor="synth").api == "responses"
    assert choose("gpt-oss-20b", vendor="synth").vendor.name == "synth"
    assert choose("gpt-oss-20b", vendor="synth", use_responses_api=False).api == "chat"
    assert choose("gpt-oss-20b", vendor="openai").api == "responses"
    assert choose("gpt-oss-20b", api="chat").api == "chat"


@pytest.mark.parametrize(("wish", "api"), [(True, "responses"), (False, "chat")])
def test_use_responses_api_chooses_for_hosted_names(wish: bool, api: str) -> None:
    """It overrules the table for OpenAI's names, and api= overrules it."""
    assert choose("gpt-4o", use_responses_api=wish).api == api
    assert choose("gpt-4o-audio-preview", use_responses_api=wish).api == api
    assert choose("gpt-4o", api="chat", use_responses_api=wish).api == "chat"


def test_a_gpt_oss_folder_speaks_harmony(tmp_path: Path) -> None:
    """The config in a folder decides, whatever the folder is called."""
    assert (
        choose(model_folder(tmp_path / "mine", config={"model_type": "gpt_oss"})).api == "harmony"
    )


def test_a_lora_folder_follows_its_base(tmp_path: Path) -> None:
    """A LoRA names its base by name or by folder.

    Of gpt-oss it speaks Harmony, of anything else it is refused.
    """
    base = model_folder(tmp_path / "base", config={"model_type": "gpt_oss"})
    other = model_folder(tmp_path / "llama", config={"model_type": "llama"})
    for number, name in enumerate(
        ["openai/gpt-oss-20b", "gpt-oss-120b", "unsloth/gpt-oss-20b-BF16", base]
    ):
        lora = model_folder(
            tmp_path / f"lora{number}", adapter_config={"base_model_name_or_path": name}
        )
        assert choose(lora).api == "harmony"
    for number, name in enumerate(["meta-llama/Llama-3.1-8B", other, "", None]):
        lora = model_folder(
            tmp_path / f"other{number}", adapter_config={"base_model_name_or_path": name}
        )
        with pytest.raises(RoutingError, match="must hold a gpt-oss model"):
            choose(lora)


def test_a_relative_or_home_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tiny`, `./tiny` and `~/tiny` are folders as well as `/.../tiny` is."""
    model_folder(tmp_path / "tiny", config={"model_type": "gpt_oss"})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for model in ("tiny", "./tiny", "~/tiny"):
        assert choose(model).api == "harmony"


def test_a_folder_of_results_does_not_hide_a_hosted_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evaluations write folders named after models; one in the working directory holds no model."""
    (tmp_path / "gpt-4o").mkdir()
    (tmp_path / "gpt-4o" / "scores.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert choose("gpt-4o").api == "responses"


@pytest.mark.parametrize("wish", [None, True, False])
def test_a_folder_of_another_model_is_refused(
    wish: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what the folder holds and the ways out, whatever the environment prefers."""
    folder = model_folder(tmp_path / "llama", config={"model_type": "llama"})
    monkeypatch.chdir(tmp_path)
    for model in (folder, "./llama", "llama"):
        with pytest.raises(
            RoutingError, match=r"must hold a gpt-oss model.*config\.json.*vllm serve.*base_url="
        ):
            choose(model, use_responses_api=wish)


@pytest.mark.parametrize("model", ["/no/such/folder", "./gone", "~/gone", "a/b/c"])
def test_a_folder_that_does_not_exist(model: str) -> None:
    """A path is never mistaken for a model's name."""
    with pytest.raises(RoutingError, match=f"no model folder at '{model}'.*Check the path"):
        choose(model)


@pytest.mark.parametrize(
    "arguments", [{}, {"use_responses_api": True}, {"api": "chat"}, {"api": "responses"}]
)
def test_a_name_with_a_slash_needs_an_address(arguments: dict[str, Any]) -> None:
    """Nothing here serves a hub's model, and the error lists what could."""
    with pytest.raises(
        RoutingError,
        match=r"'Qwen/Qwen3-8B'.*base_url=.*gpt-oss folder.*gpt-oss-20b and gpt-oss-120b",
    ):
        choose("Qwen/Qwen3-8B", **arguments)


@pytest.mark.parametrize("model", ["openai/gpt-5.5", "openai/o4-mini", "openai/tomorrow-1"])
def test_a_prefix_that_openai_does_not_know(model: str) -> None:
    """Gateways call OpenAI's models so, OpenAI does not; gpt-oss may have it."""
    with pytest.raises(RoutingError, match=f"'{model.removeprefix('openai/')}': drop the prefix"):
        choose(model)
    assert choose(model, base_url="http://localhost:4000/v1").api == "chat"
    assert choose("openai/gpt-oss-20b").api == "harmony"


def test_vllm_without_an_address_runs_gpt_oss_alone() -> None:
    """`vendor="vllm"` is this process for gpt-oss, and a server for all else."""
    assert choose("gpt-oss-20b", vendor="vllm").api == "harmony"
    with pytest.raises(
        RoutingError, match=r"vendor='vllm' with 'gpt-4o' needs base_url=.*localhost:8000"
    ):
        choose("gpt-4o", vendor="vllm")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": ""}, "model must be the name of a model or the path.*not ''"),
        (
            {"model": "gpt-4o", "api": "response"},
            "api must be .*chat, responses, harmony.*not 'response'.*mean 'responses'",
        ),
        (
            {"model": "gpt-4o", "vendor": "opnai"},
            "vendor must be .*VendorBase.*not 'opnai'.*mean 'openai'",
        ),
    ],
)
def test_unknown_values_are_named(arguments: dict[str, Any], message: str) -> None:
    """A misspelt value gets the nearest right one."""
    with pytest.raises(RoutingError, match=message):
        choose(**arguments)
