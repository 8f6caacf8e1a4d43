# SPDX-License-Identifier: BSD-3-Clause
"""Each bad input and data set gives its message, ends as it must, and leaves everything as it was.

How many there are is printed at the end of the tests.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deepmd_tf.cli.main import main

from . import bad_commands, bad_data, bad_models, bad_scripts, doubtful_data
from .changes import Case

CASES: list[Case] = [
    case
    for module in (bad_scripts, bad_data, doubtful_data, bad_models, bad_commands)
    for group in vars(module).values()
    if isinstance(group, list)
    for case in group
]
ROOT = Path(__file__).parents[2]
QUOTES = [
    quote
    for term in re.findall(
        r"^(`[^`]+`(?: or `[^`]+`)*)\n: ",
        (ROOT / "doc/troubleshooting.md").read_text("utf-8"),
        re.M,
    )
    for quote in re.findall(r"`([^`]+)`", term)
]
"""Messages on the page "When something goes wrong"."""
WITHOUT_CASE = {
    "TensorFlow is not installed in this environment",
    "the compiled operations are missing",
    "the operations of deepmd_tf were built against TensorFlow …, but TensorFlow … is running",
    "there is no TensorFlow to build the operations against",
    "the gradient of the loss is not finite",
    "…; the order of the … data begins anew, so the numbers are not those of an uninterrupted …",
    "stopped by … after step …; go on with --restart …",
    "the checkpoint cannot be written (…); earlier checkpoints are intact",
    "pairs are closer than the embedding table reaches",
    "no two atoms of the training data are closer than rcut",
    "the working directory does not exist any more",
    "the model has …, which this package does not have; evaluate it with DeePMD-kit",
    "some atoms are much closer than any in the training data",
    "… is writing here, and would lose its files",
    "frame … has atoms … Å apart, but the table of the pair potential begins at …",
    "… was trained with another table of pair potentials than …",
}
"""Those of them that are not of bad inputs; tests of their own look for them."""


def contents(folder: Path, but: tuple[str, ...] = ()) -> dict[str, bytes | None]:
    """All that is there, by name, but what is at or below these patterns."""
    skipped = [path for pattern in but for path in folder.glob(pattern)]
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if not any(path.is_relative_to(one) for one in skipped)
    }


def matches(words: str, message: str) -> list[str]:
    """Where the words are in a message; "…" in them is anything in a line."""
    return re.findall(".*?".join(map(re.escape, words.split("…"))), message)


def test_size_of_the_corpus():
    assert len(CASES) >= 60
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_message(case: Case, good, tmp_path, monkeypatch, capfd):
    folder = tmp_path / "work"
    shutil.copytree(good, folder, symlinks=True)
    monkeypatch.chdir(folder)
    case.change()
    before = contents(folder, case.leaves)
    assert main([os.fspath(word) for word in case.command]) == case.status
    out, message = capfd.readouterr()
    assert "Traceback" not in message
    if case.status in (1, 2):
        assert message.count("dp: error: ") == 1
        message = message[message.index("dp: error: ") :]
        print(message)
    else:
        assert len(matches(case.words[0], message)) == 1
        message += out
    for words in case.words:
        assert matches(words, message), words
    assert contents(folder, case.leaves) == before


@pytest.mark.parametrize("name", ["not a number in a force", "no input"])
def test_the_program_itself(name, good, tmp_path):
    """The same as a process: exit status, and one message on the channel for errors."""
    case = next(case for case in CASES if case.name == name)
    folder = tmp_path / "work"
    shutil.copytree(good, folder, symlinks=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        case.change()
    command = [sys.executable, "-m", "deepmd_tf", "--tf", *case.command]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.fspath(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (case.status, "")
    assert done.stderr.count("dp: error: ") == 1 and "Traceback" not in done.stderr
    for words in case.words:
        assert matches(words, done.stderr.partition("dp: error: ")[2]), words


def strings() -> str:
    """All text in the programs and operations, with "…" where values are put into it."""
    found = []
    for path in [*ROOT.glob("deepmd_tf/**/*.py"), ROOT / "setup.py"]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (v.value if isinstance(v, ast.Constant) else "…" for v in node.values)
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(re.sub(r"%(\.\d)?[dsfg]", "…", node.value))
    for path in (ROOT / "source").glob("op/*.h"):
        code = re.sub(r"//.*", "", path.read_text("utf-8"))
        found += ["…".join(re.findall(r'"([^"\n]*)"', part)) for part in code.split(";")]
    return "\n".join(found)


def test_messages_of_the_page():
    """A case produces each, or, for some, the program has the words."""
    assert len(QUOTES) > 40
    produced = {words for case in CASES for words in case.words}
    assert set(QUOTES) - produced == WITHOUT_CASE
    text = strings()
    for quote in WITHOUT_CASE:
        assert matches(quote, text), quote
