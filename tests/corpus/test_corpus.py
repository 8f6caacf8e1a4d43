# SPDX-License-Identifier: BSD-3-Clause
"""Each bad input and data set gives its message, ends as it must, and leaves everything as it was.

How many there are is printed at the end of the tests.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from deepmd_tf.cli.main import main

from .cases import CASES, Case


def contents(folder: Path) -> dict[str, bytes | None]:
    """All that is there, by name."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def test_size_of_the_corpus():
    assert len(CASES) >= 60
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_message(case: Case, good, tmp_path, monkeypatch, capfd):
    folder = tmp_path / "work"
    shutil.copytree(good, folder, symlinks=True)
    monkeypatch.chdir(folder)
    case.change()
    before = contents(folder)
    assert main([os.fspath(word) for word in case.command]) == case.status
    error = capfd.readouterr().err
    message = error[error.index("dp: error: ") :]
    print(message)
    assert "Traceback" not in error
    for word in case.words:
        assert word in message
    assert contents(folder) == before
