# SPDX-License-Identifier: BSD-3-Clause
"""Messages to the user: format, destinations, and silence from TensorFlow.

Modules write with ``logging.getLogger(__name__)``; this module decides where it goes. Importing it
does not import TensorFlow.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from typing import TextIO

from deepmd_tf.errors import InputError

ROOT = "deepmd_tf"
CONSOLE_FORMAT = "[%(asctime)s] DEEPMD %(levelname)-7s %(message)s"
FILE_FORMAT = "[%(asctime)s] DEEPMD %(levelname)-7s %(name)-45s %(message)s"

QUIET_ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "AUTOGRAPH_VERBOSITY": "0",
    "GRPC_VERBOSITY": "ERROR",
}
"""Variables that silence TensorFlow's C++ side; those that the user has set are left alone."""


SLOW = 2.0
"""Seconds after which :func:`told_if_slow` says what is being done."""


@contextlib.contextmanager
def told_if_slow(logger: logging.Logger, what: str) -> Iterator[None]:
    """Say ``what`` is being done when it takes longer than :data:`SLOW`, and how long it took."""
    begin = time.monotonic()
    timer = threading.Timer(SLOW, logger.info, (f"{what} ...",))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    taken = time.monotonic() - begin
    if taken > SLOW:
        logger.info("%s took %.1f s", what, taken)


class _StderrHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to what ``sys.stderr`` is at that moment: a progress bar replaces it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        """Present standard error."""
        return sys.stderr


class _LogFile(logging.FileHandler):
    """A log file that is given up, with one message, when it cannot be written any more."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Tell once; messages go on where else they go."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        logger = logging.getLogger(ROOT)
        logger.removeHandler(self)
        with contextlib.suppress(OSError):
            self.close()
        logger.error(
            'log file "%s" cannot be written any more (%s); the messages end there',
            self.baseFilename,
            error.strerror or error,
        )


def set_up(level: str = "INFO", path: str | os.PathLike[str] | None = None) -> None:
    """Send messages to standard error and, if given, to the file ``path`` (appended).

    Calling it again replaces the destinations.

    Raises
    ------
    InputError
        If the file cannot be opened.
    """
    logger = logging.getLogger(ROOT)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    handlers: list[tuple[logging.Handler, str]] = [(_StderrHandler(), CONSOLE_FORMAT)]
    if path is not None:
        try:
            handlers.append(
                (_LogFile(path, encoding="utf-8", errors="backslashreplace"), FILE_FORMAT)
            )
        except OSError as error:
            raise InputError(f'log file "{path}" cannot be opened: {error.strerror}') from error
    for handler, text in handlers:
        handler.setFormatter(logging.Formatter(text))
        logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False


def quiet_tensorflow() -> None:
    """Keep TensorFlow's own messages off the screen; call before TensorFlow is imported.

    Variables of the environment (``TF_CPP_MIN_LOG_LEVEL``, ``PYTHONWARNINGS``) and ``python -W``
    that the user has set win.
    """
    for name, value in QUIET_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if os.environ["TF_CPP_MIN_LOG_LEVEL"] not in ("0", "1"):
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
        logging.getLogger("absl").setLevel(logging.ERROR)
    if not sys.warnoptions:
        warnings.filterwarnings("ignore", module=r"(tensorflow|keras|absl|google|numpy)(\.|$)")
