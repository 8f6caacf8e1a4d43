# SPDX-License-Identifier: BSD-3-Clause
"""Files appear whole or not at all, and what cannot be written is told beforehand."""

from __future__ import annotations

import pytest

from deepmd_tf.errors import InputError
from deepmd_tf.files import GrowingFile, replacing, require_writable


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_when_the_block_ends(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and names(tmp_path) == ["a.txt"]


def test_a_block_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as part:
        part.write_text("new")
        raise ZeroDivisionError
    assert path.read_text() == "old" and names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("kept", [True, False])
def test_a_growing_file_is_seen_when_it_is_kept(tmp_path, kept):
    path = tmp_path / "a.txt"
    path.write_text("old")
    file = GrowingFile(path)
    file.stream.write("new")
    assert path.read_text() == "old"
    file.keep() if kept else file.discard()
    assert path.read_text() == ("new" if kept else "old") and names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.gif", 'ends with one of .png, .pdf, not ".gif"'),
        ("a", 'not ""'),
        ("no/a.png", "there is no directory"),
        ("folder.png", "is a directory"),
        ("/proc/a.png", "cannot be written"),
    ],
)
def test_what_cannot_be_written(tmp_path, name, words):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError) as error:
        require_writable(tmp_path / name, (".png", ".pdf"), "picture")
    assert words in str(error.value) and names(tmp_path) == ["folder.png"]


def test_what_can_be_written(tmp_path):
    path = tmp_path / "a.PNG"
    assert require_writable(path, (".png",)) == path and names(tmp_path) == []
