# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
docs/troubleshooting.rst explains every warning of the package, and every error that a
run or a store may end with. The texts are read from the code.
"""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "numpyro_pl"
PAGE = ROOT / "docs" / "troubleshooting.rst"

WITH_ERRORS = (
    "kernels/start.py",
    "model/elimination.py",
    "model/marginal.py",
    "model/plates.py",
    "model/sites.py",
    "optim/find_map.py",
    "store/checkpoint.py",
    "store/description.py",
    "store/files.py",
    "store/lock.py",
    "store/reading.py",
    "store/sampling.py",
)
"""Files whose errors depend on a model and its data, on the course of a run or on a
disk. All others are about an argument, which they name."""


def parts(node):
    """The literal parts of a string; those of a name are not known."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        return [x for value in node.values for x in parts(value)]
    if isinstance(node, ast.BinOp):
        return parts(node.left) + parts(node.right)
    if isinstance(node, ast.IfExp):
        return parts(node.body) + parts(node.orelse)
    return []


def called(node):
    """`warnings.warn` for a call of that, else the name that is called."""
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


@cache
def messages():
    """Pairs (file and line, literal parts) of all texts that the page must explain."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            where = f"{name}:{getattr(node, 'lineno', 0)}"
            # The sentences of the one warning at the end of the warmup.
            sentence = name == "warmup/settling.py" and called(node) == "found.append"
            if called(node) == "warnings.warn" or sentence:
                found.append((where, parts(node.args[0])))
            if isinstance(node, ast.Raise) and name in WITH_ERRORS:
                if called(node.exc) in ("ValueError", "RuntimeError", "OSError"):
                    texts = [x for arg in node.exc.args for x in parts(arg)]
                    found.append((where, texts))
    return found


@cache
def rows():
    """The texts in the first column of the tables, with `...` for what varies."""
    return re.findall(r"^   \* - ``(.+)``$", PAGE.read_text(), flags=re.MULTILINE)


def explains(row, texts):
    """Whether all pieces of a row occur in the literal parts of a message, in order."""
    whole, at = "\0".join(texts), 0
    for piece in (p.strip() for p in row.split("...")):
        at = whole.find(piece, at) + len(piece)
        if at < len(piece):
            return False
    return True


@pytest.mark.parametrize(("where", "texts"), messages())
def test_every_message_is_explained(where, texts):
    assert any(explains(row, texts) for row in rows()), " ... ".join(texts)


@pytest.mark.parametrize("row", rows())
def test_every_row_is_a_message(row):
    assert len(row) > 10
    assert any(explains(row, texts) for _, texts in messages())


def test_the_messages_are_found():
    """A change of style in the code must not empty the list."""
    files = {where.split(":")[0] for where, _ in messages()}
    assert len(messages()) > 35
    assert {"warmup/settling.py", "model/columns.py", "store/lock.py"} <= files
    assert all(any(len(t) > 10 for t in texts) for _, texts in messages() if texts)
