# SPDX-License-Identifier: BSD-3-Clause
"""Files, functions and classes stay small enough to be read at once.

What is counted: all lines of a file; lines of a function from ``def`` to its end, without its
docstring; for a class the names that its methods assign to ``self`` and the fields that it
declares (of a dataclass, a named tuple). Fields of ``deepmd_tf/config`` are not counted: a section
has as many options as the format has keys.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import lizard

ROOT = Path(__file__).resolve().parents[1]
MOST_LINES = 500
"""Of a file."""
MOST_OF_A_FUNCTION = 80
MOST_ATTRIBUTES = 12
FOLDERS = ("deepmd_tf", "source", "tests", "benchmarks", "build_support", "doc/_ext", "examples")


def sources(*suffixes: str) -> list[Path]:
    """Files of the project that are written by hand."""
    found = [p for folder in FOLDERS for p in (ROOT / folder).rglob("*") if p.suffix in suffixes]
    return sorted([*found, *([ROOT / "setup.py"] if ".py" in suffixes else [])])


def name_of(path: Path, *inner: str) -> str:
    """``path``, ``path:function`` or ``path:Class.method``."""
    return ":".join([path.relative_to(ROOT).as_posix(), *filter(None, [".".join(inner)])])


def long_files() -> Iterator[str]:
    for path in sources(".py", ".cc", ".h", ".sh"):
        if len(path.read_text(encoding="utf-8").splitlines()) > MOST_LINES:
            yield name_of(path)


def definitions(tree: ast.AST, above: tuple[str, ...] = ()) -> Iterator[tuple[ast.stmt, list[str]]]:
    """Functions and classes at any depth, with their qualified names."""
    for node in ast.iter_child_nodes(tree):
        inner = above
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = (*above, node.name)
            yield node, list(inner)
        yield from definitions(node, inner)


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    total = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        text = function.body[0]
        total -= text.end_lineno - text.lineno + 1
    return total


def attributes(definition: ast.ClassDef, *, fields: bool = True) -> set[str]:
    """Names of what an instance holds, declared fields included or not."""
    found = set()
    for statement in definition.body:
        if isinstance(statement, ast.AnnAssign):
            if fields and "ClassVar" not in ast.unparse(statement.annotation):
                found.add(ast.unparse(statement.target))
        elif isinstance(statement, ast.FunctionDef):
            found |= {
                node.attr
                for node in ast.walk(statement)
                if isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Store)
                and isinstance(node.value, ast.Name)
                and node.value.id == "self"
            }
    return found


def large_definitions() -> Iterator[str]:
    for path in sources(".py"):
        fields = ROOT / "deepmd_tf" / "config" not in path.parents
        for node, names in definitions(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                large = len(attributes(node, fields=fields)) > MOST_ATTRIBUTES
            else:
                large = length(node) > MOST_OF_A_FUNCTION
            if large:
                yield name_of(path, *names)


def long_native_functions() -> Iterator[str]:
    for path in sources(".cc", ".h"):
        for function in lizard.analyze_file(str(path)).function_list:
            if function.end_line - function.start_line + 1 > MOST_OF_A_FUNCTION:
                yield name_of(path, function.name)


def test_nothing_is_too_large() -> None:
    assert [*long_files(), *large_definitions(), *long_native_functions()] == []


def test_length_of_a_function() -> None:
    lines = '"""a\n    b\n    """\n    x = 1\n    return x'
    (function,) = ast.parse(f"def f():\n    {lines}").body
    assert length(function) == 3


def test_attributes_of_a_class() -> None:
    text = """
class A:
    a: int
    b: ClassVar[int] = 1
    def f(self):
        self.d, (self.e, other.x) = 1, (2, 3)
        self.d += 1
        self.g: int = 1
        print(self.h)
    class B:
        i: int
"""
    (definition,) = ast.parse(text).body
    assert attributes(definition) == {"a", "d", "e", "g"}
    assert attributes(definition, fields=False) == {"d", "e", "g"}
