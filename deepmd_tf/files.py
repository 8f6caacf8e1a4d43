# SPDX-License-Identifier: BSD-3-Clause
"""Files that appear whole or not at all: written under another name, then renamed.

What has been renamed is on disk: contents are synchronised before, the folder afterwards, so that
neither a killed process nor a machine without power leaves half a file under a final name.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

import numpy as np

from deepmd_tf.errors import DeepmdError, InputError

LARGEST_TEXT = 1 << 28
"""Bytes of a text file that is read as a whole."""
BYTES_OF_NAMES = "backslashreplace"
"""What becomes of bytes in names of files that are not UTF-8, where names stand in a file."""
_NOT_SYNCHRONISED = (errno.EINVAL, errno.ENOTSUP)
"""Error numbers of file systems that cannot synchronise."""


def require_writable(
    path: str | os.PathLike[str], suffixes: Collection[str] = (), what: str = "file"
) -> Path:
    """The path, if a file can be written there; nothing is left behind.

    Parameters
    ----------
    path
        File that is going to be written.
    suffixes
        What its name may end with, e.g. ``(".png", ".pdf")``; empty: anything.
    what
        What it is, for the message.

    Raises
    ------
    InputError
        When the suffix is another one, the folder does not exist, or nothing can be written in it.
    """
    path = Path(path)
    if suffixes and path.suffix.lower() not in suffixes:
        known = ", ".join(suffixes)
        raise InputError(
            f'{path}: the name of a {what} ends with one of {known}, not "{path.suffix}"'
        )
    if path.is_dir():
        raise InputError(f"{path}: is a directory; give the name of a {what}")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no directory {path.parent}")
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise unwritable(path, error) from None
    return path


def unwritable(
    path: str | os.PathLike[str], error: OSError, kind: type[DeepmdError] = InputError
) -> DeepmdError:
    """The message for a file that cannot be written."""
    return kind(f"{path}: cannot be written ({error.strerror or error})")


def read_text(
    path: str | os.PathLike[str],
    kind: type[DeepmdError] = InputError,
    *,
    largest: int = LARGEST_TEXT,
    errors: str = "strict",
) -> str:
    """The contents of a text file in UTF-8, without a byte-order mark; devices and pipes, which may
    have no end, are not read.

    Parameters
    ----------
    path
        The file.
    kind
        What is raised.
    largest
        Bytes.
    errors
        What to do with bytes that are not UTF-8, as in :func:`open`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DeepmdError
        Of that kind, for any other reason.
    """
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            raise kind(f"{path}: cannot be read (it is not a file)")
        if found.st_size > largest:
            raise kind(f"{path}: has {found.st_size} bytes, more than the {largest} that are read")
        return Path(path).read_text(encoding="utf-8-sig", errors=errors)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise kind(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise kind(f"{path}: is not a text file in UTF-8 ({error.reason})") from None


def part_of(path: Path) -> Path:
    """Where a file or folder is written until it is whole."""
    return path.with_name(f".{path.name}.part")


def sync(path: str | os.PathLike[str]) -> None:
    """Wait until what a file or a folder holds is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        _sync(handle)
    finally:
        os.close(handle)


def rename(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Give a file its final name, in place of what had it before."""
    os.replace(source, target)


def remove(path: str | os.PathLike[str]) -> None:
    """Remove a file if it is there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def link(target: str, path: str | os.PathLike[str]) -> None:
    """Make a symbolic link."""
    os.symlink(target, path)


def write_synced(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file, not under its final name, and wait until it is on disk.

    Raises
    ------
    OSError
        When it cannot be written.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        _write(handle, data)
        _sync(handle)
    finally:
        os.close(handle)


def save_array(path: str | os.PathLike[str], array: np.ndarray) -> None:
    """Write an array as ``.npy``.

    As :func:`numpy.save`, which says nothing when a small array does not fit on the disk: the
    buffer of the C library is written when the file is closed, and NumPy does not look at that.

    Raises
    ------
    OSError
        When it cannot be written.
    """
    with open(path, "wb") as stream:
        np.lib.format.write_array(_OnlyWrites(stream), np.asarray(array), allow_pickle=False)


def settle(part: Path, path: Path) -> None:
    """Give a file or a folder that is complete its final name, in place of what had it before.

    A folder of before goes aside, and is removed at the end: a killed process leaves the old one,
    none, or the new one under that name.

    Raises
    ------
    OSError
        When something cannot be synchronised or renamed.
    """
    for root, _, names in os.walk(part):
        for name in (*names, ""):
            sync(os.path.join(root, name))
    if not part.is_dir():
        sync(part)
        rename(part, path)
    else:
        _exchange(part, path)
    sync(path.parent)


@contextmanager
def replacing(path: str | os.PathLike[str], kind: type[DeepmdError] = InputError) -> Iterator[Path]:
    """A path to write to, which becomes ``path`` when the block ends without an exception.

    Parameters
    ----------
    path
        The file.
    kind
        Exception to raise.

    Raises
    ------
    DeepmdError
        When the file cannot be written. What had that name before is then intact.
    """
    path = Path(path)
    part = part_of(path)
    try:
        yield part
        settle(part, path)
    except OSError as error:
        raise unwritable(path, error, kind) from error
    finally:
        with contextlib.suppress(OSError):
            remove(part)


def write_whole(
    path: str | os.PathLike[str], data: str | bytes, kind: type[DeepmdError] = InputError
) -> None:
    """Write a file, whole or not at all; see :func:`replacing`."""
    with replacing(path, kind) as part:
        write_synced(part, _bytes(data) if isinstance(data, str) else data)


@contextmanager
def replacing_folder(
    path: str | os.PathLike[str], kind: type[DeepmdError] = InputError
) -> Iterator[Path]:
    """A new folder, which becomes ``path`` when the block ends without an exception.

    A folder that had that name before is removed then.

    Raises
    ------
    DeepmdError
        When something in it cannot be written.
    """
    path = Path(path)
    part = part_of(path)
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        yield part
        settle(part, path)
    except OSError as error:
        raise unwritable(path, error, kind) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def replacing_files(
    path: str | os.PathLike[str],
    patterns: Collection[str],
    kind: type[DeepmdError] = InputError,
) -> Iterator[Path]:
    """A folder to write files to, which are moved to ``path`` when the block ends.

    Files of an earlier run are removed then, so that all belong together; others in that folder
    stay. After an exception in the block everything there is as it was.

    Parameters
    ----------
    path
        Folder where the files end up; made if it does not exist.
    patterns
        Names of all files that may be written, as for :meth:`pathlib.Path.glob`.
    kind
        Exception to raise.

    Raises
    ------
    DeepmdError
        When it is no folder, there is no place for it, or something in it cannot be written.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise kind(f"{path}: is a file; give the name of a folder")
    if not path.absolute().parent.is_dir():
        raise kind(f"{path}: there is no directory {path.parent}")
    part = part_of(path.absolute())
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        yield part
        files = sorted(part.iterdir())
        for file in files:
            sync(file)
        path.mkdir(exist_ok=True)
        for pattern in patterns:
            for old in path.glob(pattern):
                remove(old)
        for file in files:
            rename(file, path / file.name)
        sync(path)
    except OSError as error:
        raise unwritable(path, error, kind) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


class GrowingFile:
    """A text file that is appended to for a long time, and seen when it is complete.

    Parameters
    ----------
    path
        Its name in the end.

    Raises
    ------
    InputError
        When it cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            self.stream: TextIO = part_of(self.path).open(
                "w", encoding="utf-8", errors=BYTES_OF_NAMES
            )
        except OSError as error:
            raise unwritable(self.path, error) from None

    def keep(self) -> None:
        """Close it and give it its name.

        Raises
        ------
        InputError
            When it cannot be written. What had that name before is then intact.
        """
        try:
            self.stream.close()
            settle(part_of(self.path), self.path)
        except OSError as error:
            self.discard()
            raise unwritable(self.path, error) from None

    def discard(self) -> None:
        """Close it and remove it; what had that name before is still there."""
        with contextlib.suppress(OSError):
            self.stream.close()
        with contextlib.suppress(OSError):
            remove(part_of(self.path))


class RowFile:
    """A text file that is seen while it grows; it ends with a whole line at any time.

    Parameters
    ----------
    path
        The file.
    text
        What it begins with, in place of what is there.
    kind
        Exception to raise.

    Raises
    ------
    DeepmdError
        When it cannot be written.
    """

    def __init__(
        self, path: str | os.PathLike[str], text: str, kind: type[DeepmdError] = InputError
    ) -> None:
        self.path = Path(path)
        self._kind = kind
        write_whole(self.path, text, kind)
        try:
            self._handle = os.open(self.path, os.O_WRONLY | os.O_APPEND)
            self._size = os.fstat(self._handle).st_size
        except OSError as error:
            raise unwritable(self.path, error, kind) from error

    def append(self, line: str) -> None:
        """Append a line; other programs see it at once, and all of it or nothing.

        Raises
        ------
        DeepmdError
            When it cannot be written.
        """
        data = _bytes(f"{line}\n")
        try:
            _write(self._handle, data)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._handle, self._size)
            raise unwritable(self.path, error, self._kind) from error
        self._size += len(data)

    def sync(self) -> None:
        """Wait until all lines are on disk.

        Raises
        ------
        DeepmdError
            When they cannot be written.
        """
        try:
            _sync(self._handle)
        except OSError as error:
            raise unwritable(self.path, error, self._kind) from error

    def close(self) -> None:
        """Close it.

        Raises
        ------
        DeepmdError
            When the last lines cannot be written.
        """
        try:
            os.close(self._handle)
        except OSError as error:
            raise unwritable(self.path, error, self._kind) from error


class _OnlyWrites:
    """A stream that NumPy does not take for a file, so that it writes by Python's means."""

    def __init__(self, stream: BinaryIO) -> None:
        self.write = stream.write


def _exchange(part: Path, path: Path) -> None:
    """Rename a folder, in place of one that may be there."""
    old = path.with_name(f".{path.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if path.is_dir():
        rename(path, old)
    try:
        rename(part, path)
    except OSError:
        if old.is_dir():
            rename(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", BYTES_OF_NAMES)


def _write(handle: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(handle, left) :]


def _sync(handle: int) -> None:
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NOT_SYNCHRONISED:
            raise


def size_of_file(path: str | os.PathLike[str]) -> str:
    """How large a file is, for people: ``1.2 MB``."""
    size = os.stat(path).st_size
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
