# SPDX-License-Identifier: BSD-3-Clause
"""Processors of a machine are shared out among its ranks."""

from __future__ import annotations

import logging
import os

import pytest
from thread_ranks import on_ranks

from deepmd_tf.environment_variables import INTRA_OP_THREADS
from deepmd_tf.errors import InputError
from deepmd_tf.parallel import processors
from deepmd_tf.parallel.processors import Processors, share_processors, threads_of


def machine(name: str, *sets: set[int], told: int | None = None) -> list[Processors]:
    return [Processors(name, name, frozenset(one), told, 8) for one in sets]


def test_equal_parts():
    every = set(range(8))
    assert [threads_of(machine("a", every, every, every), k) for k in range(3)] == [2, 2, 2]
    assert threads_of(machine("a", *[every] * 9), 8) == 1


def test_bound_ranks_have_what_they_are_bound_to():
    found = machine("a", {0, 1, 2, 3}, {4, 5, 6, 7}) + machine("b", {0, 1})
    assert [threads_of(found, k) for k in range(3)] == [4, 4, 2]


def test_what_is_told_counts():
    assert threads_of(machine("a", {0}, {0}, told=5), 0) == 5


def test_messages(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    for name in INTRA_OP_THREADS[1:]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(INTRA_OP_THREADS[0], "6")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    on_ranks(2, share_processors)
    assert "2 processes with 6+6 threads on 4 processors" in caplog.text
    assert "12 threads share 4 processors" in caplog.text
    caplog.clear()
    monkeypatch.setenv(INTRA_OP_THREADS[0], "")
    on_ranks(2, share_processors)
    assert os.environ[INTRA_OP_THREADS[0]] == "2"
    assert "has 16 processors, of which the launcher leaves 4" in caplog.text
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_one_process_is_left_alone(monkeypatch):
    monkeypatch.delenv(INTRA_OP_THREADS[0], raising=False)
    share_processors(processors.Ranks())
    assert INTRA_OP_THREADS[0] not in os.environ


def test_0_is_not_told(monkeypatch):
    monkeypatch.setenv(INTRA_OP_THREADS[0], "0")
    assert Processors.here().threads is None


def test_what_is_no_number_is_refused(monkeypatch):
    """Not replaced by another one."""
    monkeypatch.setenv(INTRA_OP_THREADS[0], "many")
    with pytest.raises(InputError, match=f'{INTRA_OP_THREADS[0]} is "many"'):
        on_ranks(2, share_processors)
