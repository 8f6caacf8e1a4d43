# SPDX-License-Identifier: BSD-3-Clause
"""What the pages show works: commands are understood, inputs are accepted, links lead somewhere."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from deepmd_tf.cli.main import build_parser, command_names
from deepmd_tf.config import Config

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(path for path in ROOT.glob("doc/**/*.md") if "_" not in path.parts[-2][:1]),
        *ROOT.glob("examples/**/*.md"),
    ]
)
TEXTS = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in PAGES}
NEEDED = {
    "train": ["input.json"],
    "neighbor-stat": ["-r", "6"],
    "show": ["model.pb", "size"],
    "convert-data": ["OUTCAR", "-o", "data"],
    "change-bias": ["model.ckpt"],
    "vibrations": ["-s", "water.xyz"],
    "zbl-table": ["O", "H"],
}
"""What commands cannot do without."""
BLOCK = re.compile(r"^```([^`\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(*languages: str) -> list[tuple[str, str]]:
    """(page, text) of the fenced blocks in these languages."""
    return [
        (page, body)
        for page, text in TEXTS.items()
        for language, body in BLOCK.findall(text)
        if language in languages
    ]


def commands() -> list[tuple[str, str]]:
    """(page, line) of all lines in fenced blocks and all inline code that call dp."""
    lines = [(page, line) for page, body in blocks("") for line in body.splitlines()]
    lines += [
        (page, code)
        for page, text in TEXTS.items()
        for code in re.findall(r"`(dp --tf [^`]*)`", text)
    ]
    return [
        (page, re.split(r"\s[#>]|→", line)[0])
        for page, line in lines
        if line.startswith("dp ") and "…" not in line
    ]


def test_pages_are_found() -> None:
    assert {"README.md", "doc/guide/training.md", "examples/water/README.md"} <= set(TEXTS)
    assert len(commands()) > 20


@pytest.mark.parametrize(("page", "line"), commands())
def test_commands_are_understood(page: str, line: str) -> None:
    words = shlex.split(line)[1:]
    named = [word for word in words if not word.startswith("-")]
    if named[:1] == ["COMMAND"] or not named:
        return
    assert named[0] in command_names(), f"{page}: {line}"
    if len(words) <= 2:
        words += NEEDED.get(named[0], [])  # a sentence about the command
    build_parser([named[0]]).parse_args(words)


@pytest.mark.parametrize(("page", "text"), blocks("json"))
def test_inputs_are_accepted(page: str, text: str) -> None:
    config = Config.from_dict(json.loads(text), source=page)
    assert Config.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_somewhere(page: str) -> None:
    folder = (ROOT / page).parent
    text = re.sub(r"^```cpp\n.*?^```", "", TEXTS[page], flags=re.MULTILINE | re.DOTALL)  # lambdas
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        generated = "_generated/" in target
        if not target.startswith("http") and not generated:
            assert (folder / target).exists(), f"{page}: {target}"


@pytest.mark.parametrize("page", TEXTS)
def test_make_targets_exist(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = TEXTS[page]
    lines = [line for _, body in BLOCK.findall(text) for line in body.splitlines()]
    for line in [*lines, *re.findall(r"`(make [^`]*)`", text)]:
        if line.startswith("make "):
            words = shlex.split(line.partition("#")[0])[1:]
            named = [word for word in words if "=" not in word]
            assert set(named) <= targets, f"{page}: {line}"


@pytest.mark.parametrize(("page", "code"), blocks("python"))
def test_python_compiles(page: str, code: str) -> None:
    assert compile(code, page, "exec").co_filename == page
