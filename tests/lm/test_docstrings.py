"""What docstrings say of parameters, in three styles."""

from __future__ import annotations

import inspect

import pytest

from synth_ai.lm.docstrings import split_docstring

GOOGLE = """
    The weather in a city.

    It may be wrong.

    Args:
        city (str, optional): Its name,
            in English: "Rome".

        unit (dict[str, int]): What it is in.
        days:

    Returns:
        The weather, in words.
    """

NUMPY = """
    The weather in a city.

    It may be wrong.

    Parameters
    ----------
    city : str, optional
        Its name,
        in English: "Rome".

    unit
        What it is in.
    days : int

    Returns
    -------
    str
        The weather, in words.
    """

SPHINX = """
    The weather in a city.

    It may be wrong.

    :param city: Its name,
        in English: "Rome".
    :type city: str
    :param Unit unit: What it is in.
    :param days:
    :returns: The weather, in words.
    """


@pytest.mark.parametrize("docstring", [GOOGLE, NUMPY, SPHINX])
def test_a_docstring_that_describes_the_parameters(docstring: str) -> None:
    """Three ways of writing it say the same; everything else stays the tool's own description."""
    description, documented = split_docstring(inspect.cleandoc(docstring))
    assert documented == {"city": 'Its name, in English: "Rome".', "unit": "What it is in."}
    assert description.startswith("The weather in a city.\n\nIt may be wrong.\n\n")
    assert description.endswith("The weather, in words.")
    assert not any(
        word in description for word in ("city :", "param", "Param", "Args", ":type", "Rome")
    )


@pytest.mark.parametrize(
    "docstring", ["", "Adds.", "Parameters: none.", "Args:\n    none at all", "Note:\n    a: b"]
)
def test_a_docstring_that_does_not(docstring: str) -> None:
    """It is the description as it is."""
    assert split_docstring(docstring) == (docstring, {})
