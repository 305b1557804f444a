"""docs/options.md is what its script writes, so the page is true whenever an option changes."""

from __future__ import annotations

import runpy
from pathlib import Path

from synth_ai.options import GenerationOptions

ROOT = Path(__file__).resolve().parent.parent


def test_the_page_has_every_option_as_it_is() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "options_table.py"))

    page = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")

    assert page == script["write_page"]()
    for name in GenerationOptions.__annotations__:
        assert f"| `{name}` |" in page


def test_the_page_says_which_api_has_an_option_and_what_it_takes() -> None:
    page = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}

    assert rows["top_k"] == "| `top_k` |  |  | ● | `int` |  |"
    assert rows["temperature"].endswith("| `float` | a number from 0 to 2 |")
    assert "low, medium, high on harmony" in rows["reasoning_effort"]
    assert "another name of `max_tokens`" in rows["max_output_tokens"]
