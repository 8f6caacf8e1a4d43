# SPDX-License-Identifier: BSD-3-Clause
"""TensorFlow for a process that runs one command: what it takes long to import is left out."""

from __future__ import annotations

import atexit
import contextlib
import gc
import sys
from collections.abc import Iterator

UNUSED = ("keras", "tf_keras")
"""TensorFlow imports one of them if it is installed, a third of its time; no command needs it."""


def import_tensorflow() -> None:
    """Import TensorFlow, if not yet imported: quietly, without Keras and garbage collection.

    Modules stay as long as the process does. They are kept from the collector, which would look
    at the million objects of TensorFlow again and again, and once more when the process ends.

    Raises
    ------
    InstallError
        If there is no TensorFlow.
    """
    if "tensorflow" in sys.modules:
        _import()
        return
    with _hidden(*UNUSED):
        _import()
    gc.freeze()
    atexit.register(gc.freeze)


def _import() -> None:
    # the package of this module needs TensorFlow
    from deepmd_tf.ops.library import tensorflow

    tensorflow()


@contextlib.contextmanager
def _hidden(*packages: str) -> Iterator[None]:
    """Let imports of packages that are not imported yet fail, as if they were not installed."""
    absent = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type] # None is what hides
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
