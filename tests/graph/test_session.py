# SPDX-License-Identifier: BSD-3-Clause
"""Threads of sessions come from the environment."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import tensorflow.compat.v1 as tf

from deepmd_tf.errors import InputError
from deepmd_tf.graph.session import plain_message, session_config

VARIABLES = (
    "DP_INTRA_OP_PARALLELISM_THREADS",
    "DP_INTER_OP_PARALLELISM_THREADS",
    "TF_INTRA_OP_PARALLELISM_THREADS",
    "TF_INTER_OP_PARALLELISM_THREADS",
    "OMP_NUM_THREADS",
)


@pytest.mark.parametrize(
    ("environment", "intra", "inter"),
    [
        ({}, 0, 0),
        ({"OMP_NUM_THREADS": "6"}, 6, 0),
        ({"OMP_NUM_THREADS": "6", "TF_INTRA_OP_PARALLELISM_THREADS": "5"}, 5, 0),
        ({"TF_INTRA_OP_PARALLELISM_THREADS": "5", "DP_INTRA_OP_PARALLELISM_THREADS": "4"}, 4, 0),
        ({"DP_INTER_OP_PARALLELISM_THREADS": "2", "TF_INTER_OP_PARALLELISM_THREADS": "3"}, 0, 2),
    ],
)
def test_threads(environment, intra, inter, monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    config = session_config()
    assert config.intra_op_parallelism_threads == intra
    assert config.inter_op_parallelism_threads == inter


COUNT = """
import os, sys
from deepmd_tf.graph.session import start_threads
import tensorflow.compat.v1 as tf

start_threads()
with tf.Graph().as_default(), tf.Session() as session:
    x = tf.ones([2000, 500], tf.float64)
    for _ in range(5):
        session.run(tf.reduce_sum(tf.matmul(x, x, transpose_b=True)))
    print(len(os.listdir("/proc/self/task")))
"""


def test_sessions_without_configuration_have_these_threads_too():
    def count(threads):
        environment = {**os.environ, **dict.fromkeys(VARIABLES[:2], str(threads))}
        return int(subprocess.check_output([sys.executable, "-c", COUNT], env=environment))

    assert count(6) - count(2) >= 8


def test_not_a_number(monkeypatch):
    monkeypatch.setenv("DP_INTRA_OP_PARALLELISM_THREADS", "many")
    with pytest.raises(InputError, match='DP_INTRA_OP_PARALLELISM_THREADS is "many"'):
        session_config()


@pytest.mark.parametrize(
    "text",
    [
        "frame 1 is wrong",
        "frame 1 is wrong\n\t [[{{node DpNeighborList}}]]",
        "Graph execution error:\n\nDetected at node 'a' defined at (most recent call last):\n"
        "    File \"a.py\", line 1, in f\nNode: 'a'\nframe 1 is wrong\n\t [[{{node a}}]]",
        "2 root error(s) found.\n  (0) INVALID_ARGUMENT: frame 1 is wrong\n\t [[{{node a}}]]\n"
        "  (1) INVALID_ARGUMENT: frame 1 is wrong\n\t [[{{node a}}]]\n0 successful operations.",
    ],
)
def test_plain_message(text):
    assert plain_message(tf.errors.InvalidArgumentError(None, None, text)) == "frame 1 is wrong"


def test_plain_message_of_an_error_that_says_nothing():
    assert plain_message(ValueError()) == "ValueError"
