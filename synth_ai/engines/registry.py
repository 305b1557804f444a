"""The engines that an LM can name: `LM("gpt-oss-20b", engine="vllm")`.

An engine of this package is one row in `_BUILT_IN`. Others are added with `register_engine`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from synth_ai.engines.base import Engine
from synth_ai.engines.shared import EngineFactory, shared_engine
from synth_ai.errors import MissingExtraError, OptionError, did_you_mean

#: The engine of an LM that names none.
DEFAULT_ENGINE = "vllm"


@dataclass(frozen=True, slots=True)
class BuiltInEngine:
    """An engine of this package, which is imported when it is first asked for.

    Attributes:
        module: the module that its class is in.
        class_name: its class, which is also its factory.
        packages: what must be installed, by the names that are imported.
        missing_message: the error if one of them is not installed, with the model as `{model}`.
    """

    module: str
    class_name: str
    packages: tuple[str, ...]
    missing_message: str

    def load_factory(self, model: str) -> EngineFactory:
        """Import the engine's class.

        Raises:
            MissingExtraError: a package that it needs is not installed.
        """
        # Looked for without importing it: vLLM takes ten seconds to import.
        for package in self.packages:
            if find_spec(package) is None:
                raise MissingExtraError(self.missing_message.format(model=repr(model)))

        factory: EngineFactory = getattr(import_module(self.module), self.class_name)
        return factory


_BUILT_IN: Mapping[str, BuiltInEngine] = {
    "vllm": BuiltInEngine(
        module="synth_ai.engines.vllm.engine",
        class_name="VLLMEngine",
        packages=("vllm",),
        # It is what a gpt-oss model gets if nothing else is said, so all ways out are named.
        missing_message=(
            "{model} runs on an engine, and there is none. Either install vLLM to run it in this "
            'process (pip install ".[vllm]" in a clone of synth_ai, with a GPU), or set '
            "SYNTH_GPU_HARMONY_ENDPOINT to a server that takes and returns token ids, or pass an "
            "engine of your own with engine=. (To talk to a chat server instead, give base_url=.)"
        ),
    ),
    "transformers": BuiltInEngine(
        module="synth_ai.engines.transformers",
        class_name="TransformersEngine",
        packages=("transformers", "torch"),
        missing_message=(
            "To run {model} with engine='transformers', install transformers and torch: "
            "pip install transformers torch"
        ),
    ),
}

_registered: dict[str, EngineFactory] = {}


def register_engine(name: str, factory: EngineFactory, *, replace: bool = False) -> None:
    """Give an engine a name, so that an LM can ask for it: `LM("gpt-oss-20b", engine=name)`.

    An LM may also give it arguments, as `engine={"engine": name, "size": 2}`. LMs of one model and
    equal arguments share one engine, which is closed with the last of them.

    Args:
        name: the name to give.
        factory: a class or function that makes the engine, called as `factory(model,
            **engine_args)`. It must return at once; the model is loaded at the engine's first use.
        replace: take the place of another engine that was registered by this name.

    Raises:
        OptionError: the name is taken, or the factory cannot be called.
    """
    if not isinstance(name, str) or not name:
        raise OptionError(
            f"The name of an engine must be a string that is not empty, not {name!r}."
        )
    if not callable(factory):
        raise OptionError(
            f"The factory of the engine {name!r} must be a class or function that takes a model "
            f"and returns an Engine, not {factory!r}."
        )
    if name in _BUILT_IN:
        raise OptionError(f"The engine {name!r} is built in; register yours by another name.")
    if name in _registered and not replace:
        raise OptionError(
            f"There is an engine {name!r} already: {_registered[name]!r}. Register yours by "
            "another name, or pass replace=True to take its place."
        )

    _registered[name] = factory


def unregister_engine(name: str) -> None:
    """Take back what `register_engine` did. Engines that are in use go on.

    Raises:
        OptionError: no engine is registered by this name.
    """
    if name not in _registered:
        raise OptionError(f"No engine is registered by the name {name!r}.")
    del _registered[name]


def make_engine(engine: str | Mapping[str, object], model: str) -> Engine:
    """Make the engine that an LM asks for by name: a share in the one for this model.

    Args:
        engine: the name of an engine, or its arguments with its name as `"engine"`; arguments
            without a name are those of vLLM. See `shared_engine` for `"new_engine"` among them.
        model: the name or folder of the model.

    Raises:
        OptionError: there is no such engine, or the model is in use with other arguments.
        MissingExtraError: a package that the engine needs is not installed.
    """
    if isinstance(engine, str):
        return shared_engine(_find_factory(engine, model), model)

    engine_args = dict(engine)
    name = engine_args.pop("engine", DEFAULT_ENGINE)
    new_engine = bool(engine_args.pop("new_engine", False))
    if not isinstance(name, str):
        raise OptionError(f"The name of an engine must be a string, not {name!r}.")

    if "model" in engine_args:
        raise OptionError(
            f"The model is the LM's, {model!r}; leave 'model' out of engine={engine!r}."
        )

    factory = _find_factory(name, model)
    return shared_engine(factory, model, new_engine=new_engine, **engine_args)


def _find_factory(name: str, model: str) -> EngineFactory:
    built_in = _BUILT_IN.get(name)
    if built_in is not None:
        return built_in.load_factory(model)

    if name not in _registered:
        names = [*_BUILT_IN, *_registered]
        listed = ", ".join(repr(known) for known in names)
        raise OptionError(
            f"engine={name!r} is not known; it takes one of {listed}.{did_you_mean(name, names)} "
            "Add an engine of your own with register_engine(name, factory)."
        )
    return _registered[name]
