# SPDX-License-Identifier: BSD-3-Clause
"""Format and destinations of messages."""

from __future__ import annotations

import logging
import os
import re

import pytest

from deepmd_tf import log
from deepmd_tf.errors import InputError

STAMP = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}\] "


@pytest.fixture(autouse=True)
def clean():
    logger = logging.getLogger(log.ROOT)
    before = (list(logger.handlers), logger.level, logger.propagate)
    yield
    for handler in logger.handlers:
        handler.close()
    logger.handlers, logger.propagate = list(before[0]), before[2]
    logger.setLevel(before[1])


def test_console_and_file(tmp_path, capsys):
    path = tmp_path / "train.log"
    log.set_up("INFO", path)
    logger = logging.getLogger("deepmd_tf.training.trainer")
    logger.info("saved checkpoint %s", "model.ckpt")
    logger.debug("not shown")
    assert re.fullmatch(
        STAMP + r"DEEPMD INFO    saved checkpoint model\.ckpt\n", capsys.readouterr().err
    )
    assert re.fullmatch(
        STAMP + r"DEEPMD INFO    deepmd_tf\.training\.trainer +saved checkpoint model\.ckpt\n",
        path.read_text(),
    )


def test_setting_up_again_replaces(capsys):
    log.set_up("INFO")
    log.set_up("ERROR")
    logging.getLogger("deepmd_tf").info("hidden")
    logging.getLogger("deepmd_tf").error("once")
    assert capsys.readouterr().err.count("once") == 1


def test_log_file_that_cannot_be_opened(tmp_path):
    with pytest.raises(InputError, match="cannot be opened"):
        log.set_up("INFO", tmp_path / "missing" / "train.log")


def test_log_file_on_a_full_disk(capsys):
    """One message, and all others still go to standard error."""
    log.set_up("INFO", "/dev/full")
    for k in range(3):
        logging.getLogger("deepmd_tf").info("message %d", k)
    lines = capsys.readouterr().err.splitlines()
    assert [sum(f"message {k}" in line for line in lines) for k in range(3)] == [1, 1, 1]
    assert sum("/dev/full" in line for line in lines) == 1
    assert "cannot be written any more (No space left on device)" in "".join(lines)
    assert "Traceback" not in "".join(lines)


def test_the_users_log_level_of_tensorflow_wins(monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    log.quiet_tensorflow()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"
