# SPDX-License-Identifier: BSD-3-Clause
"""Files that appear whole or not at all: written under another name, then renamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from deepmd_tf.errors import InputError


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


def unwritable(path: str | os.PathLike[str], error: OSError) -> InputError:
    """The message for a file that cannot be written."""
    return InputError(f"{path}: cannot be written ({error.strerror or error})")


def part_of(path: Path) -> Path:
    """Where a file is written until it is whole."""
    return path.with_name(f".{path.name}.part")


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path to write to, which becomes ``path`` when the block ends without an exception.

    Raises
    ------
    InputError
        When the file cannot be written.
    """
    path = Path(path)
    part = part_of(path)
    try:
        yield part
        os.replace(part, path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        part.unlink(missing_ok=True)


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
            self.stream: TextIO = part_of(self.path).open("w", encoding="utf-8")
        except OSError as error:
            raise unwritable(self.path, error) from None

    def keep(self) -> None:
        """Close it and give it its name."""
        try:
            self.stream.close()
            os.replace(part_of(self.path), self.path)
        except OSError as error:
            raise unwritable(self.path, error) from None

    def discard(self) -> None:
        """Close it and remove it; what had that name before is still there."""
        self.stream.close()
        part_of(self.path).unlink(missing_ok=True)
