"""`Tree`: conversations and their branches, which draws itself wherever it is shown.

Each method imports its drawing when it is called: with an LM comes this module, and few programs
draw.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from synth_ai.store.facts import to_dict
from synth_ai.tree.turn_tree import TurnTree

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult


class Tree(TurnTree):
    """Conversations and their branches, to be looked at.

    `print(tree)` draws it in a terminal (in colour with rich), a notebook draws it by itself, and
    `to_html` makes a page of it. Make one with `Tree.of`.

    What it is made of (`turns`, `roots`, `children`, `head`) and how to walk it is `TurnTree`'s.
    """

    __slots__ = ()

    def to_mermaid(self) -> str:
        """Draw a Mermaid flowchart, as Markdown viewers show it from a block marked `mermaid`."""
        from synth_ai.tree.mermaid import to_mermaid

        return to_mermaid(self)

    def to_json(self) -> str:
        """Write the head, and the turns with all that is stored of them, parents first.

        A tree that is coloured has the colours too, by the ids of the turns.
        """
        from synth_ai.tree.facts import colours_of

        turns = [to_dict(turn) for turn in self.walk()]
        data: dict[str, object] = {"head": self.head, "turns": turns}
        if self.color_by is not None:
            data["colors"] = colours_of(self)
        return json.dumps(data, indent=2)

    def to_html(self, title: str = "Conversations") -> str:
        """Make a page for any browser: it folds, searches, and lays two branches side by side.

        It loads nothing from elsewhere. It has the whole text of the conversations: `save_html`
        writes it to a file that only its owner can read.
        """
        from synth_ai.tree.html import to_page

        return to_page(self, title)

    def save_html(self, path: str | os.PathLike[str], title: str = "Conversations") -> None:
        """Write `to_html` to a file that only its owner can read; it appears whole or not at all.

        Args:
            path: the file; an earlier page is replaced, no other file is.
            title: the page's heading.

        Raises:
            StoreUnavailableError: the file cannot be written, or another one is in its place.
        """
        from synth_ai.tree.html import write_page

        write_page(self, path, title)

    def __str__(self) -> str:
        """Draw a line per turn: what was asked and answered, the start of its id, tokens in+out."""
        from synth_ai.tree.text import terminal_width, to_text

        return to_text(self, terminal_width())

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from synth_ai.tree.text import to_rich

        yield to_rich(self, options.max_width)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """Draw the tree for a notebook; IPython calls this."""
        from synth_ai.tree.notebook import to_notebook

        return {"text/plain": str(self), "text/html": to_notebook(self)}
