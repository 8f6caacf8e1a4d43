# SPDX-License-Identifier: BSD-3-Clause
"""The first signal is noted, the second one acts."""

from __future__ import annotations

import signal
import threading

import pytest

from deepmd_tf.training.interrupt import SIGNALS, Interrupt


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
        assert [signal.getsignal(n) for n in SIGNALS] == before
    assert [signal.getsignal(n) for n in SIGNALS] == before


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
