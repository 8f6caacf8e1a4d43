# SPDX-License-Identifier: BSD-3-Clause
"""Ends a training early, with a checkpoint: signals, and a time limit."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
EXIT_SIGNAL = 128
"""Added to the number of the signal that ended a training, as shells do."""
EXIT_TIME = 75
"""Exit status when the time was over before the last step: EX_TEMPFAIL of sysexits.h."""
FIRST_SAVING = 2.0
"""Seconds that writing a checkpoint is expected to take before one has been written."""


class Interrupt:
    """Notes that SIGINT or SIGTERM has arrived, so that the loop can stop between two steps.

    A signal that is ignored when it begins (SIGINT in what a shell starts with ``&``) stays
    ignored. A second SIGINT has its usual effect at once; SIGTERM, which job systems may send more
    than once, is noted as often as it comes. Outside of the main thread, where handlers cannot be
    set, it does nothing.

    Attributes
    ----------
    received
        The first signal, or None.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *unused: object) -> None:
        for number in list(self._previous):
            self._restore(number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or signal.Signals(number)
        if number == signal.SIGINT:
            self._restore(signal.SIGINT)

    def _restore(self, number: signal.Signals) -> None:
        if number in self._previous:
            signal.signal(number, self._previous.pop(number))


def process_age() -> float:
    """Seconds since this process began; 0 if the system does not tell."""
    try:
        with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
            # the name of the program, in brackets, may hold anything
            begin = int(file.read().rpartition(")")[2].split()[19])
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0
    return max(0.0, now - begin / os.sysconf("SC_CLK_TCK"))


class Deadline:
    """When the time of a training is over, early enough to write a checkpoint.

    Kept in reserve are the longest step so far, with all that is displayed and validated after it,
    and twice the longest checkpoint.

    Parameters
    ----------
    seconds
        From now on; None: no limit.
    """

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds
        self._longest = 0.0
        self._saving = FIRST_SAVING
        self._saved = False

    def step_took(self, seconds: float) -> None:
        """Tell how long a step took, with all that followed it but the checkpoint."""
        self._longest = max(self._longest, seconds)

    def saving_took(self, seconds: float) -> None:
        """Tell how long a checkpoint took."""
        self._saving = max(self._saving, seconds) if self._saved else seconds
        self._saved = True

    @property
    def reached(self) -> bool:
        """Whether there is no time for another step."""
        if self._end is None:
            return False
        return time.monotonic() + self._longest + 2 * self._saving >= self._end

    @property
    def passed(self) -> bool:
        """Whether the time itself is over."""
        return self._end is not None and time.monotonic() >= self._end
