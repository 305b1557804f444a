"""What a docstring says of a function's parameters, as Google, NumPy and Sphinx write it. Pure."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Style:
    """One way to document parameters.

    Attributes:
        section: finds the text about parameters, its entries in the group `body`.
        entry: finds the parameters in a body, without its indentation: the groups `name` and
            `text`.
    """

    section: re.Pattern[str]
    entry: re.Pattern[str]


# Args:                                  -> city: Its name, in English.
#     city (str, optional): Its name,       unit: What it is in.
#         in English.
#     unit: What it is in.
#
# A section goes on to the first line that is not indented. "Args: none." is not a section.
_GOOGLE = _Style(
    section=re.compile(
        r"^(?:Args|Arguments|Parameters|Params):[ \t]*\n"
        r"(?P<body>(?:[ \t]+\S.*(?:\n|\Z)|[ \t]*\n)+)",
        re.MULTILINE,
    ),
    entry=re.compile(
        r"^(?P<name>\w+)[ \t]*(?:\(.*?\))?[ \t]*:(?P<text>.*(?:\n(?:[ \t].*)?)*)",
        re.MULTILINE,
    ),
)

# Parameters                             -> city: Its name, in English.
# ----------                                unit: What it is in.
# city : str, optional
#     Its name,
#     in English.
# unit
#     What it is in.
#
# A section goes on to the next line that is underlined with hyphens, or to the end.
_NUMPY = _Style(
    section=re.compile(
        r"^Parameters[ \t]*\n-{3,}[ \t]*\n(?P<body>(?s:.*?))(?=^\S.*\n-{3,}|\Z)",
        re.MULTILINE,
    ),
    entry=re.compile(
        r"^(?P<name>\w+)[ \t]*(?::.*)?(?P<text>(?:\n(?:[ \t].*)?)+)",
        re.MULTILINE,
    ),
)

# :param city: Its name,                 -> city: Its name, in English.
#     in English.                           unit: What it is in.
# :type city: str
# :param Unit unit: What it is in.
#
# Each field is a section; that of a type has no entry.
_SPHINX = _Style(
    section=re.compile(
        r"^(?P<body>:(?:param|type)\b.*(?:\n[ \t]+\S.*)*)\n?",
        re.MULTILINE,
    ),
    entry=re.compile(r"^:param\b[^:]*?(?P<name>\w+):(?P<text>.*(?:\n[ \t].*)*)"),
)

# What a section leaves between its neighbours: "\n\n\n\n" -> "\n\n"
_BLANK_LINES = re.compile(r"\n{3,}")


def split_docstring(text: str) -> tuple[str, dict[str, str]]:
    """Split a docstring into its description and what it says of each parameter.

    Args:
        text: the docstring, without the indentation of the code (see `inspect.getdoc`).

    Returns:
        The docstring without its sections about parameters, and the description of each parameter
        that has one.
    """
    parameters: dict[str, str] = {}
    for style in (_GOOGLE, _NUMPY, _SPHINX):
        entries = _find_entries(text, style)
        if entries:
            parameters |= entries
            text = style.section.sub("", text)

    description = _BLANK_LINES.sub("\n\n", text).strip()
    return description, {name: text for name, text in parameters.items() if text}


def _find_entries(text: str, style: _Style) -> dict[str, str]:
    entries = {}
    for section in style.section.finditer(text):
        body = textwrap.dedent(section["body"])
        for entry in style.entry.finditer(body):
            # One line, whatever its indentation was.
            entries[entry["name"]] = " ".join(entry["text"].split())
    return entries
