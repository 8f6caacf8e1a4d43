# SPDX-License-Identifier: BSD-3-Clause
"""Exceptions that a user may see: one message that says what is wrong, where, and what to do.

The command line prints ``dp: error: <message>`` for every :class:`DeepmdError` and exits with 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class DeepmdError(Exception):
    """Base class of every error that the user can mend."""


class InputError(DeepmdError):
    """The input script is wrong: names the JSON path, what was found, and what was expected."""


class DataError(DeepmdError):
    """A data set is wrong: names the file, the frame or atom, and the expected shape or value."""


class ModelFileError(DeepmdError):
    """A frozen model cannot be read, or does not do what is asked of it."""


class CheckpointError(DeepmdError):
    """A checkpoint is missing, damaged, or belongs to another model."""


class InstallError(DeepmdError):
    """TensorFlow or the compiled operations are missing or do not fit; says what mends it."""


class TrainingError(DeepmdError):
    """Training cannot start or go on, for instance because the loss is not a number."""


@contextmanager
def optional_package(name: str, why: str = "") -> Iterator[None]:
    """Imports in this block fail with :class:`InstallError` and the command that installs them.

    Parameters
    ----------
    name
        The package, as pip knows it.
    why
        What needs it, for the message.
    """
    try:
        yield
    except ImportError as error:
        title = {"ase": "ASE"}.get(name, name)
        reason = f", and {why} need it" if why else ""
        raise InstallError(
            f"{title} cannot be imported ({error}){reason}; install it with: pip install {name}"
        ) from None
