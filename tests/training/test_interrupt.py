# SPDX-License-Identifier: BSD-3-Clause
"""The first signal is noted, the second one acts."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest

from deepmd_tf.training import interrupt as module
from deepmd_tf.training.interrupt import SIGNALS, Deadline, Interrupt


@pytest.fixture(autouse=True)
def usual_handlers():
    """As in a program that is started by hand; one that a script starts with & ignores SIGINT."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_first_signal_is_noted_and_handlers_are_put_back(number):
    before = [signal.getsignal(n) for n in SIGNALS]
    with Interrupt() as interrupt:
        assert interrupt.received is None
        signal.raise_signal(number)
        assert interrupt.received == number
        back = signal.getsignal(signal.SIGINT) == before[0]
        assert back == (number == signal.SIGINT)
    assert [signal.getsignal(n) for n in SIGNALS] == before


def test_job_systems_may_repeat_themselves():
    with Interrupt() as interrupt:
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
        assert interrupt.received == signal.SIGTERM
        signal.raise_signal(signal.SIGINT)
        assert interrupt.received == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("number", SIGNALS)
def test_what_is_ignored_stays_ignored(number):
    """As SIGINT in programs that a shell starts with &."""
    signal.signal(number, signal.SIG_IGN)
    with Interrupt() as interrupt:
        signal.raise_signal(number)
        assert interrupt.received is None
        assert signal.getsignal(number) == signal.SIG_IGN
        other = SIGNALS[1 - SIGNALS.index(number)]
        signal.raise_signal(other)
        assert interrupt.received == other
    assert signal.getsignal(number) == signal.SIG_IGN


class Clock:
    """``time`` with a clock that is set by hand."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


def test_time_is_over_when_a_checkpoint_takes_the_rest(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    deadline = Deadline(100.0)

    def reached_at(seconds):
        clock.now = 1000.0 + seconds
        return deadline.reached, deadline.passed

    assert reached_at(95.9) == (False, False) and reached_at(96.1) == (True, False)
    deadline.step_took(5.0)
    deadline.step_took(1.0)
    assert reached_at(90.9) == (False, False) and reached_at(91.1) == (True, False)
    deadline.saving_took(0.5)  # less than was expected before the first one
    assert reached_at(93.9) == (False, False) and reached_at(94.1) == (True, False)
    deadline.saving_took(10.0)
    deadline.saving_took(0.5)
    assert reached_at(74.9) == (False, False) and reached_at(75.1) == (True, False)
    assert reached_at(100.0) == (True, True)


def test_no_limit():
    deadline = Deadline(None)
    deadline.saving_took(1e300)
    assert not deadline.reached and not deadline.passed


def test_age_of_a_process():
    code = "import time; time.sleep(0.5); from deepmd_tf.training.interrupt import process_age; "
    begin = time.monotonic()
    age = float(subprocess.check_output([sys.executable, "-c", code + "print(process_age())"]))
    assert 0.5 < age < time.monotonic() - begin + 0.05


def test_second_signal_acts():
    with pytest.raises(KeyboardInterrupt), Interrupt():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


def test_other_threads_are_left_alone():
    done = []

    def work():
        with Interrupt() as interrupt:
            done.append(interrupt.received)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [None]
