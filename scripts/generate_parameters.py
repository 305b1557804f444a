"""Write `synth_ai/lm/parameters.py` from the parameter types of the installed openai SDK.

Run it after raising the SDK: `python scripts/generate_parameters.py`. The table is kept in the package because
importing the types costs as much as `import openai`, and option names are checked when an LM is made.
"""

from __future__ import annotations

from pathlib import Path

import openai
from openai.types.chat import completion_create_params
from openai.types.responses import response_create_params

TABLE = Path(__file__).resolve().parent.parent / "synth_ai" / "lm" / "parameters.py"

CHAT = (
    completion_create_params.CompletionCreateParamsNonStreaming,
    completion_create_params.CompletionCreateParamsStreaming,
)
RESPONSES = (
    response_create_params.ResponseCreateParamsNonStreaming,
    response_create_params.ResponseCreateParamsStreaming,
)


def names(kinds: tuple[type, ...]) -> list[str]:
    """Every key of the given TypedDicts, sorted."""
    return sorted({name for kind in kinds for name in kind.__annotations__})


def source() -> str:
    """The text of the table."""
    return (
        f'"""The parameters of OpenAI\'s create calls by name, generated from openai {openai.__version__}.\n\n'
        'Do not edit: `scripts/generate_parameters.py` writes this file.\n"""\n\n'
        f'CHAT: frozenset[str] = frozenset(\n{_listed(names(CHAT))})\n"""What `chat.completions.create` takes."""\n\n'
        f'RESPONSES: frozenset[str] = frozenset(\n{_listed(names(RESPONSES))})\n"""What `responses.create` takes."""\n'
    )


def _listed(words: list[str]) -> str:
    return "    {\n" + "".join(f'        "{word}",\n' for word in words) + "    }\n"


if __name__ == "__main__":
    TABLE.write_text(source())
