# SPDX-License-Identifier: BSD-3-Clause
"""Files appear whole or not at all, and what cannot be written is told beforehand."""

from __future__ import annotations

import errno
import os
import resource

import numpy as np
import pytest

from deepmd_tf.errors import InputError, TrainingError
from deepmd_tf.files import (
    GrowingFile,
    RowFile,
    replacing,
    replacing_folder,
    require_writable,
    save_array,
    write_whole,
)


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


def test_contents_are_on_disk_before_the_name(tmp_path, monkeypatch):
    """File, rename, folder: a machine that loses its power has the old file or the new one."""
    done = []
    fsync, replace = os.fsync, os.replace

    def synchronise(handle):
        done.append(("sync", os.readlink(f"/proc/self/fd/{handle}")))
        fsync(handle)

    def rename(source, target):
        done.append(("rename", str(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synchronise)
    monkeypatch.setattr(os, "replace", rename)
    path, part = tmp_path / "a.txt", tmp_path / ".a.txt.part"
    file = GrowingFile(path)
    file.stream.write("new")
    for write in (file.keep, lambda: write_whole(path, "newer")):
        done.clear()
        write()
        assert done[-3:] == [("sync", str(part)), ("rename", str(path)), ("sync", str(tmp_path))]
    assert path.read_text() == "newer"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
@pytest.mark.parametrize("way", ["whole", "growing"])
def test_failure_of_any_step(tmp_path, monkeypatch, number, step, way):
    """One message with file and cause; what was there before still is, and nothing else."""
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(*_):
        raise OSError(number, os.strerror(number))

    file = GrowingFile(path) if way == "growing" else None
    stream = None if file is None else file.stream
    if file is not None and step == "write":
        monkeypatch.setattr(file, "stream", FailingStream(fail))
    monkeypatch.setattr(os, step, fail)
    with pytest.raises(InputError) as error:
        write_whole(path, "new") if file is None else file.keep()
    monkeypatch.undo()
    if stream is not None:
        stream.close()
    assert str(error.value) == f"{path}: cannot be written ({os.strerror(number)})"
    assert path.read_text() == "old" and names(tmp_path) == ["a.txt"]


class FailingStream:
    """A stream whose buffer cannot be written when it is closed, however often."""

    def __init__(self, fail):
        self.close = fail


def test_rows_are_whole_lines_whatever_fails(tmp_path, monkeypatch):
    path = tmp_path / "rows"
    path.write_text("of before\n")
    rows = RowFile(path, "# head\n", TrainingError)
    rows.append("1")
    write = os.write

    def half(handle, data):
        if len(data) < 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(handle, bytes(data[: len(data) // 2]))

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(TrainingError, match=r"rows: .*No space left"):
        rows.append("a longer line")
    assert path.read_text() == "# head\n1\n"
    monkeypatch.undo()
    rows.append("2")
    rows.sync()
    rows.close()
    assert path.read_text() == "# head\n1\n2\n" and names(tmp_path) == ["rows"]


def test_a_folder_appears_whole(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").write_text("old")
    with pytest.raises(ZeroDivisionError), replacing_folder(path) as part:
        (part / "new").write_text("new")
        raise ZeroDivisionError
    assert names(path) == ["old"] and names(tmp_path) == ["folder"]
    with replacing_folder(path) as part:
        (part / "sub").mkdir()
        (part / "sub" / "new").write_text("new")
        assert names(path) == ["old"]
    assert names(path) == ["sub"] and names(tmp_path) == ["folder"]
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match="cannot be written"),
        replacing_folder(tmp_path / "file/x"),
    ):
        pass


@pytest.mark.parametrize("size", [20, 1000, 10**6])
def test_an_array_on_a_full_disk(tmp_path, rng, size):
    array = rng.normal(size=(size // 2, 2))
    save_array(tmp_path / "a.npy", array)
    assert (np.load(tmp_path / "a.npy") == array).all()
    save_array(tmp_path / "b.npy", array.T)
    assert (np.load(tmp_path / "b.npy") == array.T).all()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 * size, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            save_array(tmp_path / "c.npy", array)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_folder_that_cannot_be_renamed(tmp_path, monkeypatch):
    """The old one has its name again."""
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").write_text("old")
    replace = os.replace

    def fail(source, target):
        if str(source).endswith(".part"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(InputError, match="cannot be written"), replacing_folder(path) as part:
        (part / "new").write_text("new")
    assert names(path) == ["old"] and names(tmp_path) == ["folder"]


def test_unwritable_places(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="file/a: cannot be written"):
        write_whole(tmp_path / "file" / "a", "", TrainingError)
    with pytest.raises(InputError, match="file/a: cannot be written"):
        RowFile(tmp_path / "file" / "a", "")
    with pytest.raises(InputError, match="file/a: cannot be written"):
        GrowingFile(tmp_path / "file" / "a")
