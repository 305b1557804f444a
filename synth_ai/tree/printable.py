"""Text for one line of a terminal: harmless, and no wider than it may be."""

from __future__ import annotations

import re
import unicodedata

# All control characters but the tab and the line feed, halves of surrogate pairs, and the marks of
# direction.
_ACTING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)


def to_printable(text: str) -> str:
    """Bring text into one line that a terminal only shows.

    No control character that a model wrote gets through, so none moves the cursor or the title.
    """
    # Among what split() takes for blanks are line breaks of all kinds.
    line = " ".join(text.split())
    if line.isprintable():
        return line
    return "".join(_replace_unprintable(character) for character in line)


def to_printable_lines(text: str) -> str:
    """Take out of a text of many lines what is not shown but acts: control characters.

    Half a surrogate pair goes too, as it cannot be encoded, and marks that turn the direction of
    writing, which make a line read as another one.
    """
    if text.isascii() and text.isprintable():
        return text
    return _ACTING.sub("\N{REPLACEMENT CHARACTER}", text)


def shorten(text: str, width: int) -> str:
    """Cut a text to at most `width` columns of a terminal, with an ellipsis where it was cut."""
    if count_columns(text) <= width:
        return text

    kept = []
    used = 1  # the ellipsis
    for character in text:
        used += count_columns(character)
        if used > width:
            break
        kept.append(character)
    return "".join(kept).rstrip() + "…"


def count_columns(text: str) -> int:
    """Count the columns of a terminal that a text takes.

    ::

        e and a combining accent -> 1
        北京                     -> 4
    """
    if text.isascii():
        return len(text)

    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    combining = sum(unicodedata.combining(character) > 0 for character in text)
    return len(text) + wide - combining


def _replace_unprintable(character: str) -> str:
    if character.isprintable():
        return character

    # Format characters, such as the joiners of emoji, are dropped; a control character leaves a
    # mark.
    is_format = unicodedata.category(character) == "Cf"
    return "" if is_format else "\N{REPLACEMENT CHARACTER}"
