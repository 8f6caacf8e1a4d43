# SPDX-License-Identifier: BSD-3-Clause
"""Errors that a user can understand and mend.

A message says what is wrong, where (file, key, frame, atom), what was expected, and what to do. The command line
prints it without a traceback.
"""

from __future__ import annotations


class DeepmdError(Exception):
    """Base of all errors that are raised on purpose."""


class InputError(DeepmdError):
    """An input script or a command line asks for something that cannot be done."""


class DataError(DeepmdError):
    """A data set is missing something, or holds something that cannot be right."""


class ModelFileError(DeepmdError):
    """A frozen model cannot be read, or is not what the caller needs."""


class CheckpointError(DeepmdError):
    """A checkpoint is missing, damaged, or belongs to another model."""


class InstallError(DeepmdError):
    """The installation is incomplete: no TensorFlow, no op library, or versions that do not fit."""


class TrainingError(DeepmdError):
    """Training cannot go on."""
