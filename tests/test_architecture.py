# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
The house: few rooms, imports that run downward only, no name passed on from room to
room, functions that fit on a screen, and a drawing in docs/architecture.rst that is
true.
"""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "numpyro_pl"
FILES = sorted(PACKAGE.rglob("*.py"))

MOST_ROOMS, MOST_FLOORS, MOST_ARROWS = 12, 6, 30
MOST_LINES, MOST_FILE_LINES = 50, 300

HANDLERS = {PACKAGE / "model" / name for name in ("handlers.py", "discrete_runs.py")}
"""The one file that may use NumPyro's message passing, documented or not."""


def room_of(module: str) -> str:
    """The room of a module: its first part below the package, or the root."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def module_of(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imports(path: Path) -> list[tuple[str, str]]:
    """Pairs (module, name) that a file imports; the name is empty for a module."""
    found = []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [(node.module or "", alias.name) for alias in node.names]
    return found


@cache
def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


@cache
def arrows() -> frozenset[tuple[str, str]]:
    """Which room imports from which."""
    found = set()
    for path in FILES:
        room = room_of(module_of(path))
        for module, name in imports(path):
            if not module.startswith("numpyro_pl"):
                continue
            full = f"{module}.{name}"
            target = room_of(full if is_module(full) else module)
            if target != room:
                found.add((room, target))
    return frozenset(found)


def floors() -> dict[str, int]:
    """The floor of each room: one above the highest that it imports from."""
    rooms = {room_of(module_of(path)) for path in FILES}
    below = {room: {b for a, b in arrows() if a == room} for room in rooms}
    found: dict[str, int] = {}
    while len(found) < len(rooms):
        ready = [r for r in rooms if r not in found and below[r] <= found.keys()]
        assert ready, f"imports run in a circle among {rooms - found.keys()}"
        for room in ready:
            found[room] = 1 + max((found[r] for r in below[room]), default=0)
    return found


def test_few_rooms_floors_and_arrows():
    print(floors(), len(arrows()))
    assert len(floors()) <= MOST_ROOMS
    assert max(floors().values()) <= MOST_FLOORS
    assert len(arrows()) <= MOST_ARROWS


def test_no_kernel_imports_what_looks_at_chains():
    """And nothing below a kernel knows of one."""
    beside = {"diagnostics", "landscape", "plots", "store"}
    assert not [(a, b) for a, b in arrows() if a == "kernels" and b in beside]
    assert {a for a, b in arrows() if b == "kernels"} == {"__init__"}
    assert not [(a, b) for a, b in arrows() if a == "trees"]
    assert [b for a, b in arrows() if a == "dynamics"] == ["trees"]


def defined_names(path: Path) -> set[str]:
    """Names that a module makes itself, not imports."""
    names = set()
    for node in tree_of(path).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                names |= {n.id for n in ast.walk(target) if isinstance(n, ast.Name)}
    return names


def test_names_are_imported_from_where_they_are_made():
    """Only the package itself takes names from the public list of a room."""
    passed_on = []
    for path in FILES:
        for module, name in imports(path):
            if not module.startswith("numpyro_pl") or is_module(f"{module}.{name}"):
                continue
            source = ROOT.joinpath(*module.split("."))
            source = source / "__init__.py" if source.is_dir() else source
            if path == PACKAGE / "__init__.py":
                continue
            if name not in defined_names(source.with_suffix(".py")):
                passed_on.append(f"{path.relative_to(ROOT)}: {module}.{name}")
    assert passed_on == []


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_what_a_file_may_hold(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= MOST_FILE_LINES
    known = {m for m, _ in imports(path)} | {f"{m}.{n}" for m, n in imports(path)}
    assert path in HANDLERS or not known & {"numpyro.handlers", "numpyro.primitives"}
    assert not path.name.startswith("_") or path.name == "__init__.py"
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef):
            documented = ast.get_docstring(node) is not None
            body = node.body[1:] if documented else node.body
            length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert length <= MOST_LINES, f"{node.name} has {length} lines"


def test_the_drawing_in_the_docs_is_true():
    """Each room on its floor, with the rooms that it imports from."""
    text = (ROOT / "docs" / "architecture.rst").read_text()
    drawn = {}
    for floor, room, below in re.findall(
        r"^   (\d)  (\w+)(?: -> ([\w, ]+))?$", text, flags=re.MULTILINE
    ):
        names = {name.strip() for name in below.split(",")} if below else set()
        drawn[room] = (int(floor), names)
    true = {
        room: (floor, {b for a, b in arrows() if a == room})
        for room, floor in floors().items()
    }
    assert drawn == true
