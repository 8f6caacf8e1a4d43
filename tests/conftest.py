# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures of all tests."""

from __future__ import annotations

import collections
import gc
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from deepmd_tf.log import ROOT


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """Prefix and variables of a checkpoint of the small model; nobody writes beside it."""
    # not at the top: many tests need no TensorFlow
    from saved_models import save_checkpoint

    return save_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def saved(checkpoint: tuple[Path, dict[str, np.ndarray]]) -> Path:
    """Prefix of that checkpoint."""
    return checkpoint[0]


@pytest.fixture(scope="module")
def without_rewriting() -> Iterator[None]:
    """Sessions of the package run their graphs as they stand: a quarter of a short training less.

    For modules of what is written, said and refused. Those of each kind of model, of restarts and
    of evaluations do without it, as they run what users do.
    """
    import tensorflow.compat.v1 as tf
    from plain_session import plain

    opened = tf.Session

    def open_plain(graph: tf.Graph | None = None, config: tf.ConfigProto | None = None):
        return opened(graph=graph, config=plain(config or tf.ConfigProto()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf, "Session", open_plain)
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in each run."""
    return np.random.default_rng(20240101)


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    """A test that runs ``dp`` leaves no destinations and no level of messages behind."""
    logger = logging.getLogger(ROOT)
    before = list(logger.handlers), logger.level, logger.propagate
    yield
    for handler in logger.handlers:
        if handler not in before[0]:
            handler.close()
    logger.handlers[:], logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


def pytest_collection_finish() -> None:
    """All modules, TensorFlow among them, stay to the end; looking through them for garbage takes
    some per cent of the time in which graphs are built, and so does looking often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


def pytest_terminal_summary(terminalreporter) -> None:
    """How many bad inputs were tried, and what tests have counted, in however many processes.

    A test counts by ``record_property("counted", (title, {name: number}))``.
    """
    corpus = "corpus/test_corpus.py::test_message"
    passed = [r for r in terminalreporter.stats.get("passed", []) if corpus in r.nodeid]
    if passed:
        terminalreporter.write_line(
            f"bad inputs and data sets that gave their message: {len(passed)}"
        )
    counted: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            if name == "counted":
                counted[value[0]].update(value[1])
    for title, numbers in counted.items():
        found = ", ".join(f"{name} {n}" for name, n in numbers.items())
        terminalreporter.write_line(f"{title}: {found}")
