# SPDX-License-Identifier: BSD-3-Clause
"""The tree keeps its own rules: imports point one way, every source file names its licence."""

from __future__ import annotations

import ast
import graphlib
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "deepmd_tf"

LAYERS = (
    {
        "compiled",
        "elements",
        "environment_variables",
        "errors",
        "fields",
        "files",
        "names",
        "parallel",
        "units",
        "metrics",
        "progress",
        "log",
        "output",
    },
    {"config"},
    {"data", "pair_table"},
    {"ops"},
    {"nn"},
    {"environment", "losses"},
    {"descriptors", "fitting"},
    {"model"},
    {"graph"},
    {"training", "inference", "export"},
    {"analysis"},
    {"infer", "doctor", "interfaces"},
    {"cli"},
    {"__main__"},
)
"""From the bottom up; the members of one layer do not know each other (those of the lowest may)."""
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
WITHOUT_TENSORFLOW = LAYERS[0] | LAYERS[1] | LAYERS[2]

SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py") + sorted(
    PACKAGE.glob("*/__init__.py")
)


def part(path: Path) -> str:
    """Layer member that a module of the package belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[tuple[int, str]]:
    """(line, absolute module) of all imports; names taken from a package count as modules."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports here are absolute"
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def test_every_part_has_a_layer() -> None:
    assert {part(path) for path in SOURCES} <= set(LEVEL)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    here = part(path)
    for line, module in imports(path):
        words = module.split(".")
        if words[0] == "tensorflow" and here in WITHOUT_TENSORFLOW:
            pytest.fail(f"{path}:{line}: {here} does without TensorFlow")
        if words[0] != "deepmd_tf" or len(words) < 2 or words[1] not in LEVEL or words[1] == here:
            continue
        allowed = LEVEL[words[1]] < LEVEL[here] or LEVEL[here] == 0
        assert allowed, f"{path}:{line}: {here} may not import {words[1]}"


def test_no_import_cycle() -> None:
    """Also within a part, and also where an import stands inside of a function."""
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
    }
    needs = {}
    for name, path in modules.items():
        found = [module for _, module in imports(path)]
        known = {m if m in modules else m.rpartition(".")[0] for m in found}
        needs[name] = (known & set(modules)) - {name}
    try:
        graphlib.TopologicalSorter(needs).prepare()
        cycle = []
    except graphlib.CycleError as error:
        cycle = error.args[1]
    assert cycle == []


def test_model_does_not_know_losses() -> None:
    for path in (PACKAGE / "model").glob("*.py"):
        assert not [m for _, m in imports(path) if m.startswith("deepmd_tf.losses")], path


def test_sources_name_their_licence() -> None:
    listed = subprocess.run(
        [
            "git",
            "ls-files",
            "*.py",
            "*.cc",
            "*.h",
            "*CMakeLists.txt",
            "Makefile",
            ".ci/run",
            "*.yml",
            "*.yaml",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listed.stdout.split() if (ROOT / name).exists()]
    assert len(files) > 50
    missing = [
        str(path)
        for path in files
        if "SPDX-License-Identifier: BSD-3-Clause"
        not in "".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:2])
    ]
    assert not missing
