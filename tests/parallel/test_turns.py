# SPDX-License-Identifier: BSD-3-Clause
"""Work that ranks take turns at; threads stand for them."""

from __future__ import annotations

import logging
import threading
import time

import pytest
from thread_ranks import on_ranks

from deepmd_tf.errors import InputError
from deepmd_tf.parallel import ALONE, in_turns
from deepmd_tf.parallel.agreement import require_same

log = logging.getLogger("deepmd_tf.some.module")


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 3, 7])
def test_results_are_in_the_order_of_the_work(size, count):
    def work(ranks):
        done = []

        def square(item):
            done.append(item)
            time.sleep(0.001 * (count - item))  # the later ones are ready first
            return item**2

        return list(in_turns(ranks, range(count), square)), done

    found = on_ranks(size, work)
    assert found[0][0] == [item**2 for item in range(count)]
    assert all(not results for results, _ in found[1:])
    for rank, (_, done) in enumerate(found):
        assert done == list(range(rank, count, size))


def test_one_process_does_each_item_when_it_is_asked_for():
    done = []
    results = in_turns(ALONE, range(3), done.append)
    next(results)
    assert done == [0]


def test_warnings_of_all_are_told_once(caplog):
    """Also those that rank 0 would not see."""

    def work(ranks):
        def warn(item):
            log.info("item %d", item)
            log.warning("everywhere the same")
            if item == 4:
                log.warning("something of item %d", item)

        list(in_turns(ranks, range(6), warn))
        return threading.get_ident()

    first, *_ = on_ranks(3, work)
    told = [r.getMessage() for r in caplog.records if r.thread == first]
    assert told.count("something of item 4") == 1
    # by the two turns of rank 0 itself
    assert told.count("everywhere the same") == 2


def test_an_error_is_raised():
    def work(ranks):
        return list(in_turns(ranks, range(6), lambda item: 1 / (item - 4)))

    with pytest.raises(ZeroDivisionError):
        on_ranks(3, work)


def test_what_differs_is_named():
    def work(ranks):
        require_same(ranks, {"a": "same", "data": f"of {ranks.rank // 2}"})

    on_ranks(2, work)
    with pytest.raises(InputError, match=r"data: that of rank 2 differs .* \(of 1 instead of of 0"):
        on_ranks(3, work)
