"""Presets: every setting exists in the installed vLLM, and says the same as arguments, command and file."""

from __future__ import annotations

import dataclasses
import shlex
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from synth_ai import VLLMEngine
from synth_ai.engines.cards import CARDS, Card, amd_cards, card_named, nvidia_cards
from synth_ai.engines.presets import Preset, check_memory, config_file, preset_for, serve_command
from synth_ai.errors import EngineStartError, OptionError

SMALL, LARGE = "openai/gpt-oss-20b", "openai/gpt-oss-120b"


def preset(name: str, model: str = LARGE, count: int = 1, **options: Any) -> Preset:
    """The preset for so many of a card, sharing the model."""
    return preset_for(model, [card_named(name)] * count, {"tensor_parallel_size": count}, **options)


ALL = [
    preset(name, model, count, eagle3=model == LARGE, streams=False)
    for name in CARDS
    for model in (SMALL, LARGE)
    for count in (1, 2, 8)
]


@pytest.fixture(scope="module")
def parser() -> Any:
    """The parser of vLLM's server; its module has moved between versions."""
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    for home in ("vllm.entrypoints.launchers.cli_args", "vllm.entrypoints.openai.cli_args"):
        if find_spec(home):
            return import_module(home).make_arg_parser(FlexibleArgumentParser())
    raise LookupError("vLLM's server has its parser nowhere that is known")


@pytest.mark.vllm
@pytest.mark.parametrize("preset_", ALL)
def test_every_setting_exists(preset_: Preset) -> None:
    """Arguments, nested ones too, and environment variables are those of the installed vLLM."""
    import vllm.envs
    from vllm import AsyncEngineArgs
    from vllm.config import CompilationConfig, SpeculativeConfig
    from vllm.config.compilation import PassConfig

    def names(kind: Any) -> set[str]:
        return {field.name for field in dataclasses.fields(kind)}

    compilation = preset_.engine_args.get("compilation_config", {})
    assert set(preset_.engine_args) <= names(AsyncEngineArgs)
    assert set(compilation) <= names(CompilationConfig)
    assert set(compilation.get("pass_config", {})) <= names(PassConfig)
    assert set(preset_.engine_args.get("speculative_config", {})) <= names(SpeculativeConfig)
    assert set(preset_.environment) <= set(vllm.envs.environment_variables)


@pytest.mark.vllm
def test_environment_names_are_vllms_own() -> None:
    """The names read from vLLM's source are those that it has."""
    import vllm.envs

    from synth_ai.engines.vllm_args import environment_names

    assert environment_names() == {name for name in vllm.envs.environment_variables if name.startswith("VLLM_")}


@pytest.mark.vllm
@pytest.mark.parametrize("preset_", ALL)
def test_command_and_file_say_the_same(preset_: Preset, parser: Any, tmp_path: Path) -> None:
    """vLLM's own parser reads the command and the file back as the arguments."""
    words = shlex.split(serve_command(LARGE, preset_).replace("\\\n", " "))
    start = words.index("vllm")
    assert words[start : start + 3] == ["vllm", "serve", LARGE]
    assert words[:start] == [f"{name}={value}" for name, value in preset_.environment.items()]
    file = tmp_path / "settings.yaml"
    file.write_text(config_file(preset_))

    for arguments in (["--model", LARGE, *words[start + 3 :]], ["--model", LARGE, "--config", str(file)]):
        parsed = parser.parse_args(arguments)
        for name, value in preset_.engine_args.items():
            assert _plain(getattr(parsed, name), value) == value, name


def _plain(parsed: Any, like: Any) -> Any:
    """What the parser made of a value, with its configuration objects as the dicts that they came from."""
    if not isinstance(like, dict):
        return parsed
    read = parsed.get if isinstance(parsed, dict) else lambda name: getattr(parsed, name)
    return {name: _plain(getattr(read(name), "name", read(name)), value) for name, value in like.items()}


def test_hopper() -> None:
    """One 80 GB card with the large model takes a small batch and more memory; two of them do not."""
    assert preset("h100").engine_args == {
        "async_scheduling": True,
        "max_cudagraph_capture_size": 2048,
        "max_num_batched_tokens": 1024,
        "gpu_memory_utilization": 0.95,
    }
    assert preset("h100", count=2).engine_args["gpu_memory_utilization"] < 0.95
    for other in (preset("h100", SMALL), preset("h200")):
        assert other.engine_args["max_num_batched_tokens"] == 8192
        assert "gpu_memory_utilization" not in other.engine_args


def test_blackwell_ampere_and_amd() -> None:
    """The other families get what the recipes say of them."""
    assert preset("b200").engine_args == preset("h200").engine_args | {
        "kv_cache_dtype": "fp8",
        "compilation_config": {"pass_config": {"fuse_allreduce_rms": True, "eliminate_noops": True}},
    }
    assert preset("a100").engine_args == {"async_scheduling": True}
    amd = preset("mi300x", count=8)
    assert amd.engine_args["tensor_parallel_size"] == 8
    assert amd.engine_args["block_size"] == 64
    assert amd.environment["VLLM_ROCM_USE_AITER"] == "1"
    assert preset("mi355x").engine_args["async_scheduling"] is True


def test_streams_and_eagle() -> None:
    """Tokens are reported in groups only where nobody streams; the draft model is for the large model alone."""
    assert "stream_interval" not in preset("h200").engine_args
    assert preset("h200", streams=False).engine_args["stream_interval"] == 20
    assert preset("h200", eagle3=True).engine_args["speculative_config"]["method"] == "eagle3"
    with pytest.raises(OptionError, match="gpt-oss-20b"):
        preset("h200", SMALL, eagle3=True)


def test_no_card_recommends_nothing() -> None:
    """Without a GPU vLLM's own defaults stay."""
    assert preset_for(LARGE, [], {}) == Preset()


def test_memory() -> None:
    """A model that cannot fit is refused with the figures; shared among enough cards it is not."""
    small = Card("NVIDIA L4", "ada", 22.5)
    check_memory(SMALL, [small], {})
    check_memory("some/other-model", [small], {})
    with pytest.raises(EngineStartError, match=r"about 60 GB.*1 x NVIDIA L4 has 22 GB.*gpt-oss-20b"):
        check_memory(LARGE, [small], {})
    check_memory(LARGE, [small] * 4, {"tensor_parallel_size": 4})


@pytest.mark.vllm
def test_unknown_card() -> None:
    """A misspelt card is refused when the engine is made, with the nearest name."""
    with pytest.raises(OptionError, match="Did you mean 'h100'"):
        VLLMEngine("gpt-oss-20b", gpu="h10")


def test_nvidia_listing() -> None:
    """The answer of nvidia-smi becomes cards; what it says without a driver does not."""
    listing = "NVIDIA H100 80GB HBM3, 81559, 9.0\nNVIDIA Orin, [N/A], 8.7\nNVIDIA X, 1024, 99.0\n"
    hopper, unknown = nvidia_cards(listing)
    assert (hopper.architecture, round(hopper.memory_gib)) == ("hopper", 80)
    assert unknown.architecture == "other"
    assert nvidia_cards("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n") == []


def test_amd_nodes(tmp_path: Path) -> None:
    """The nodes of the ROCm driver become cards; processors among them do not."""
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "properties").write_text("cpu_cores_count 64\ngfx_target_version 0\n")
    bank = tmp_path / "1" / "mem_banks" / "0"
    bank.mkdir(parents=True)
    (tmp_path / "1" / "properties").write_text("gfx_target_version 90402\n")
    (bank / "properties").write_text(f"size_in_bytes {192 * 2**30}\n")
    (card,) = amd_cards(tmp_path)
    assert (card.architecture, card.memory_gib) == ("cdna3", 192)
    assert amd_cards(tmp_path / "nowhere") == []
