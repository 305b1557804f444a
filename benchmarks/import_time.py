"""How long imports take on top of a bare Python.

The bars: `import synth_ai` in under 60 ms, a first LM in half the time of `import openai`.

Run it with `python benchmarks/import_time.py`; each line is the median of 15 new processes.
"""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

ROUNDS = 15
STATEMENTS = (
    "import synth_ai",
    "import synth_ai; synth_ai.LM('gpt-5', api_key='sk-none')",
    "import openai",
)


def seconds(statement: str) -> float:
    """The median time of a new Python that runs `statement`."""
    took = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", statement], check=True)
        took.append(time.perf_counter() - start)
    return median(took)


if __name__ == "__main__":
    bare = seconds("pass")
    print(f"{'pass':60} {1000 * bare:7.1f} ms")
    for statement in STATEMENTS:
        print(f"{statement:60} {1000 * (seconds(statement) - bare):+7.1f} ms")
