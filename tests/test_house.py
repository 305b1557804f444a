"""The house keeps its rules: imports one way, one place that knows each API, lines that fit."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "synth_ai"
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}

APIS_AND_VENDORS = {"chat", "responses", "harmony", "openai", "synth", "vllm"}

#: Where such a name is that of a Python package, which may be imported or not.
PACKAGES = {("engines/vllm/args.py", "vllm"), ("http/sdk_transport.py", "openai")}

#: The rooms from the ground up; a room imports from itself and from those before it. The server
#: engine reaches its server through http, and the front door, the tests' models and the command
#: line reach everything.
GROUND = (
    *("errors", "_version", "settings", "timeout", "content", "images", "options", "api"),
    *("events", "response", "turn", "limiter", "ids", "spending", "surrogates"),
)
FLOORS = (
    GROUND,
    ("harmony", "engines", "store", "http"),
    ("tree", "lm"),
    ("testing", "openai_api"),
    ("backend",),
    ("cli",),
)


def module_of(path: Path) -> str:
    """The dotted name of a file."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def imports_of(path: Path) -> Iterator[str]:
    """The modules of the package that a file imports, wherever in it: for type checkers too."""
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else node.module


def room_of(module: str) -> str:
    """The first name behind `synth_ai`, such as `store`."""
    return module.split(".")[1]


def test_no_import_goes_in_a_circle() -> None:
    """Those of type checkers and those inside of functions included; packages load nothing."""
    is_package = {module for module, path in MODULES.items() if path.name == "__init__.py"}
    graph = {
        module: {each for each in imports_of(path) if each not in is_package and each != module}
        for module, path in MODULES.items()
        if module not in is_package
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"{' -> '.join(error.args[1])}")


def test_imports_go_down() -> None:
    """A room knows the rooms below it, and of those beside it none but where it is said."""
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    exceptions = {("engines", "http"), ("lm", "tree")}
    wrong = []
    for path in FILES:
        module = module_of(path)
        if module == "synth_ai":
            continue
        for imported in imports_of(path):
            if imported == "synth_ai":
                continue
            room, other = room_of(module), room_of(imported)
            beside = floor[room] == floor[other] and room != other and floor[room] > 0
            above = floor[other] > floor[room]
            if (above or beside) and (room, other) not in exceptions:
                wrong.append(f"{module} imports {imported}")
    assert wrong == []


def compared_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The names of APIs and vendors that something is compared with, and the lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            operands: list[ast.expr] = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            operands = [node.value]
        else:
            continue
        for operand in operands:
            parts = (
                operand.elts if isinstance(operand, ast.List | ast.Tuple | ast.Set) else [operand]
            )
            for part in parts:
                if isinstance(part, ast.Constant) and part.value in APIS_AND_VENDORS:
                    yield part.lineno, part.value


def test_nothing_outside_the_vendors_asks_for_an_api_by_its_name() -> None:
    """What LM must know of an API is on its `API` object."""
    vendors = PACKAGE / "lm" / "vendors"
    found = [
        f"{path.relative_to(PACKAGE)}:{line} {name!r}"
        for path in FILES
        if vendors not in path.parents
        for line, name in compared_names(TREES[path])
        if (str(path.relative_to(PACKAGE)), name) not in PACKAGES
    ]
    assert found == []


def test_such_a_comparison_would_be_found() -> None:
    """The test above can fail."""
    tree = ast.parse("if api in ('chat', 'other') or vendor != 'openai': pass")
    assert [name for _, name in compared_names(tree)] == ["chat", "openai"]


def test_lines_fit_into_100_columns() -> None:
    """Two files fit side by side."""
    wide = [
        f"{path.relative_to(PACKAGE)}:{number}"
        for path in FILES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > 100
    ]
    assert wide == []


def test_a_name_is_one_type() -> None:
    """A reader who has met a class knows it everywhere."""
    homes: dict[str, list[str]] = {}
    for path, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    assert {name: files for name, files in homes.items() if len(files) > 1} == {}
