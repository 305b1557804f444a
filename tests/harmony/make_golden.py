"""Write the golden prompts with openai-harmony 0.0.8.

It cannot live in one environment with vLLM.

From the root of the project:

    uv venv golden-venv
    uv pip install --python golden-venv/bin/python openai-harmony==0.0.8
    PYTHONPATH=.:tests golden-venv/bin/python tests/harmony/make_golden.py

`golden/NAME.txt` are the readable conversations, with a line break after each message.
`golden/ids.jsonl` holds the ids of those and of generated conversations, one of them a line, with
what they were made from.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from random import Random

from harmony import oracle
from harmony.conversations import READABLE, conversation

GOLDEN = Path(__file__).parent / "golden"


def main() -> None:
    assert version("openai-harmony") == "0.0.8"
    conversations = READABLE | {
        f"generated_{seed}": conversation(Random(seed)) for seed in range(60)
    }
    with (GOLDEN / "ids.jsonl").open("w") as file:
        for name, one in conversations.items():
            ids = oracle.render(one)
            file.write(
                json.dumps({"name": name, **asdict(one), "ids": ids}, ensure_ascii=False) + "\n"
            )
            if name in READABLE:
                text = (
                    oracle.encoding().decode(ids).replace("<|end|><|start|>", "<|end|>\n<|start|>")
                )
                text = text.replace("<|call|><|start|>", "<|call|>\n<|start|>")
                (GOLDEN / f"{name}.txt").write_text(text + "\n")


if __name__ == "__main__":
    main()
