"""A notebook loads nothing from an address that a model wrote."""

from __future__ import annotations

import pytest

from synth_ai import BaseLMResponse
from synth_ai.content import assistant_message, function_call, reasoning_item

IMAGES = [
    "![chart](https://evil.example/x?q=hush)",
    "!![chart](https://evil.example/x)",
    "![a [nested] one](https://evil.example/x)",
    "![over\ntwo lines](https://evil.example/x)",
    "![chart][1]\n\n[1]: https://evil.example/x",
    "![chart][]\n\n> [chart]: https://evil.example/x",
    "![chart]\n\n[chart]: https://evil.example/x",
    "<img src=https://evil.example/x>",
]


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_that_a_model_wrote_is_shown_as_a_link(image: str) -> None:
    markdown_it = pytest.importorskip("markdown_it")
    output = [
        reasoning_item(image),
        assistant_message(image, phase="commentary"),
        assistant_message(f"Here you are. {image}"),
        function_call("c", image, image),
    ]
    response = BaseLMResponse.of_output(output, model=image, warnings=[image])
    page = markdown_it.MarkdownIt("commonmark").render(response._repr_markdown_())
    assert "<img" not in page
    if "chart](" in image:
        assert '<a href="https://evil.example/x' in page


def test_code_stays_as_it_is() -> None:
    code = "```rust\nlet v = vec![1, 2];\n```"
    response = BaseLMResponse.of_output([assistant_message(code)])
    assert code in response._repr_markdown_()
