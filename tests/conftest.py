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


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--device``."""
    parser.addoption(
        "--device",
        choices=("cpu", "gpu"),
        default="cpu",
        help="where operations run: on the processor, or on a GPU made of paper",
    )
    parser.addoption(
        "--all-kernels",
        action="store_true",
        help="with --device gpu: fail if some kernel was launched by no test",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Load the device before any module that opens a session."""
    if config.getoption("--device") == "gpu":
        import paper_gpu

        paper_gpu.use()


_LAUNCHED: set[str] = set()
"""Kernels that tests have launched, in this process and in workers that have ended."""


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Collect the kernels that ran; a worker leaves the rest to the process that started it."""
    config = session.config
    if config.getoption("--device") == "cpu":
        return
    import paper_gpu

    _LAUNCHED.update(paper_gpu.counts())
    if hasattr(config, "workeroutput"):
        config.workeroutput["launched"] = sorted(_LAUNCHED)
    elif config.getoption("--all-kernels") and set(paper_gpu.kernels()) - _LAUNCHED:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node) -> None:
    """Take over what a worker has collected."""
    _LAUNCHED.update(node.workeroutput.get("launched", ()) if hasattr(node, "workeroutput") else ())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is about the other device."""
    other = "gpu" if config.getoption("--device") == "cpu" else "cpu"
    for item in items:
        if marker := item.get_closest_marker(other):
            item.add_marker(pytest.mark.skip(reason=f"about a {other}: {marker.args[0]}"))


@pytest.fixture
def on_gpu(pytestconfig: pytest.Config) -> bool:
    """Whether operations run on the GPU that is made of paper."""
    return pytestconfig.getoption("--device") == "gpu"


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
    """How many bad inputs were tried, which kernels ran on a GPU, and what tests have counted, in
    however many processes.

    A test counts by ``record_property("counted", (title, {name: number}))``.
    """
    if terminalreporter.config.getoption("--device") == "gpu":
        import paper_gpu

        kernels = set(paper_gpu.kernels())
        missing = sorted(kernels - _LAUNCHED)
        terminalreporter.write_line(
            f"kernels of the GPU: {len(kernels)}, never launched: {', '.join(missing) or 'none'}"
        )
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
