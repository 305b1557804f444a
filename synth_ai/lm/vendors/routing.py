"""Which vendor and which API a model's calls go to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from synth_ai.errors import RoutingError, did_you_mean
from synth_ai.lm.vendors import families
from synth_ai.lm.vendors.apis import HARMONY
from synth_ai.lm.vendors.registry import (
    COMPATIBLE,
    OPENAI,
    VLLM,
    Vendor,
    find_vendor,
    known_apis,
)


@dataclass(frozen=True, slots=True)
class Route:
    """Where a model's calls go.

    Attributes:
        api: the name of the API to speak.
        vendor: whose address and key to use; VLLM also for gpt-oss in this process.
        reason: why, in a few words.
    """

    api: str
    vendor: Vendor
    reason: str

    @property
    def is_harmony(self) -> bool:
        """Whether an engine runs the model, rather than a server."""
        return self.api == HARMONY.name


def choose_route(
    model: str,
    *,
    api: str = "auto",
    vendor: str | None = None,
    base_url: str | None = None,
    use_responses_api: bool | None = None,
) -> Route:
    """Choose the route for a model.

    What the caller says comes first: the API, the vendor, the address. Then the model's name
    decides.

    Args:
        model: a model's name, or a folder on disk.
        api: `auto`, or the API to use whatever the name says.
        vendor: the name of a vendor; None lets the name decide.
        base_url: the address of a server, as an argument. (One from the environment belongs to its
            vendor.)
        use_responses_api: choose between chat and Responses if the name allows both.

    Raises:
        RoutingError: a value is unknown, or nothing can serve this name as given.
    """
    if not model or not isinstance(model, str):
        raise RoutingError(
            f"model must be the name of a model or the path of a model folder, not {model!r}."
        )
    _check_api(api)

    row = None if vendor is None else find_vendor(vendor)
    if api == HARMONY.name:
        return Route(HARMONY.name, VLLM, "api='harmony' was given")

    given_api = _given_api(api, use_responses_api)
    if row is not None and row not in (OPENAI, VLLM):
        return _route_to(row, given_api, f"vendor={row.name!r} was given")
    if base_url is not None:
        server = VLLM if row is VLLM else COMPATIBLE
        return _route_to(server, given_api, "a base_url was given")
    if row is OPENAI:
        return _route_to_openai(model, given_api)

    if api == "auto" and families.is_gpt_oss(model):
        return Route(HARMONY.name, VLLM, "it is a gpt-oss model")
    if row is VLLM:
        raise RoutingError(
            f"vendor='vllm' with {model!r} needs base_url=, the address of the vLLM server (vllm "
            "serve listens on http://localhost:8000/v1). In this process, vLLM runs gpt-oss models "
            "alone."
        )
    _refuse_what_is_not_hosted(model)
    return _route_to_openai(model, given_api)


def _check_api(api: str) -> None:
    names = ["auto", *known_apis()]
    if api not in names:
        raise RoutingError(
            f"api must be one of {', '.join(names)}, not {api!r}.{did_you_mean(str(api), names)}"
        )


def _given_api(api: str, use_responses_api: bool | None) -> str | None:
    """Return the API that the caller asks for; None if the vendor or the model decides."""
    if api != "auto":
        return api
    if use_responses_api is None:
        return None
    return "responses" if use_responses_api else "chat"


def _route_to(vendor: Vendor, given_api: str | None, reason: str) -> Route:
    if given_api is not None and given_api not in vendor.apis:
        raise RoutingError(
            f"The vendor {vendor.name!r} speaks {', '.join(vendor.apis)}, not {given_api!r}."
        )
    return Route(given_api or vendor.default_api, vendor, reason)


def _route_to_openai(model: str, given_api: str | None) -> Route:
    if given_api is not None:
        return _route_to(OPENAI, given_api, "the API was given")

    family = families.family_of(model)
    # What is on no API of OpenAI's goes where tomorrow's models will be.
    if family is None or family.api.name not in OPENAI.apis:
        return Route(OPENAI.default_api, OPENAI, "vendor='openai' was given")
    return Route(family.api.name, OPENAI, family.reason)


def _refuse_what_is_not_hosted(model: str) -> None:
    """Refuse folders of other models, and names of a hub: nothing here serves them."""
    if families.looks_like_path(model):
        raise _folder_error(model)
    maker, _, name = model.partition("/")
    if maker == "openai" and families.family_of(name) is not None:
        raise RoutingError(
            f"OpenAI's own service knows {model!r} as {name!r}: drop the prefix. (A gateway that "
            "wants it is at an address of its own: give base_url=.)"
        )
    if "/" in model:
        raise RoutingError(
            f"{model!r} names a model on a hub, and nothing here serves it. Give base_url= for a "
            "server that has it (vllm serve, Ollama, LM Studio, ...), the path of a gpt-oss folder "
            "on this disk, or one of gpt-oss-20b and gpt-oss-120b, which run in this process."
        )


def _folder_error(model: str) -> RoutingError:
    directory = Path(model).expanduser()
    if not directory.is_dir():
        return RoutingError(
            f"There is no model folder at {model!r}. Check the path, or give the name of a model."
        )

    names = sorted(path.name for path in directory.iterdir())
    content = ", ".join(names[:5]) or "nothing"
    return RoutingError(
        f"The folder {model!r} must hold a gpt-oss model: its config.json (or adapter_config.json, "
        f"for a LoRA) must say so; it holds {content}. Only gpt-oss runs in this process; serve "
        "other models with `vllm serve` and give base_url=."
    )
