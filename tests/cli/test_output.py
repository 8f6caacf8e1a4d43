# SPDX-License-Identifier: BSD-3-Clause
"""Standard output need not be UTF-8; files are."""

from __future__ import annotations

import io
import logging
import os
import re
import sys

import pytest
import small

from deepmd_tf import log
from deepmd_tf.cli.main import command_names, main
from deepmd_tf.files import RowFile, write_whole
from deepmd_tf.output import in_ascii, make_printable

ESCAPE = re.compile(r"\\[xuUN]")


class Terminal:
    """What stands in the place of standard output."""

    def __init__(self, monkeypatch, encoding):
        self.encoding = encoding
        self._bytes = io.BytesIO()
        self._stream = io.TextIOWrapper(self._bytes, encoding, write_through=True)
        # in the test itself: pytest sets its own between a fixture and the test
        monkeypatch.setattr(sys, "stdout", self._stream)

    @property
    def text(self):
        return self._bytes.getvalue().decode(self.encoding)


encodings = pytest.mark.parametrize("encoding", ["ascii", "latin-1", "gbk"])


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("eV/Å²", "eV/A2"),
        ("cm⁻¹", "cm-1"),
        ("Σ c_i ∂E/∂r → ½ φ", "Sigma c_i dE/dr -> 1/2 phi"),
        ("√⟨ε²⟩ ≤ 3 ± 1…", "sqrt<epsilon2> <= 3 +- 1..."),
        ("水", r"\u6c34"),
        ("wé", r"w\xe9"),
    ],
)
def test_likenesses(text, plain):
    assert in_ascii(text) == plain


@encodings
@pytest.mark.parametrize("command", [[c, "-h"] for c in command_names()] + [["doc-train-input"]])
def test_help(command, encoding, monkeypatch):
    terminal = Terminal(monkeypatch, encoding)
    try:
        assert main(["--tf", *command]) == 0
    except SystemExit as end:
        assert end.code == 0
    assert len(terminal.text) > 100
    assert not ESCAPE.search(terminal.text) or "doc" in command[0]


def test_commands_do_their_work(saved, tmp_path, monkeypatch):
    """The picture and the table that `test` writes at the end, and the modes of a molecule."""
    data = small.data(tmp_path) / "valid"
    monkeypatch.chdir(tmp_path)
    terminal = Terminal(monkeypatch, "ascii")
    assert main(["test", "-m", str(saved), "-s", str(data), "--plot", "t.png"]) == 0
    assert (tmp_path / "t.png").stat().st_size > 0
    (tmp_path / "w.xyz").write_text("3\n\nO 0 0 0.12\nH 0 0.76 -0.48\nH 0 -0.76 -0.48\n")
    assert main(["vibrations", "-m", str(saved), "-s", "w.xyz", "-o", "vib"]) == 0
    assert "MAE" in terminal.text and not ESCAPE.search(terminal.text)


def test_bytes_of_names_are_printed_as_they_are(monkeypatch):
    name = os.fsdecode(b"caf\xe9")
    terminal = Terminal(monkeypatch, "latin-1")
    make_printable()
    print(name)
    assert terminal.text == "café\n"


def test_files_are_utf_8(tmp_path, caplog):
    """Whatever the names of files that are told in them."""
    name = os.fsdecode(b"caf\xe9 \xc3\x85")
    write_whole(tmp_path / "whole", name)
    rows = RowFile(tmp_path / "rows", "")
    rows.append(name)
    rows.close()
    log.set_up(path=tmp_path / "log")
    logging.getLogger("deepmd_tf").info("%s", name)
    for file in ("whole", "rows", "log"):
        assert r"caf\udce9 Å" in (tmp_path / file).read_text(encoding="utf-8")
