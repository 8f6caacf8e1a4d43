# SPDX-License-Identifier: BSD-3-Clause
"""Threads of sessions come from the environment."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from deepmd_tf.errors import InputError
from deepmd_tf.graph.session import make_callable, plain_message, session_config

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
        ({}, 0, 1),
        ({"OMP_NUM_THREADS": "6"}, 6, 1),
        ({"OMP_NUM_THREADS": "6", "TF_INTRA_OP_PARALLELISM_THREADS": "5"}, 5, 1),
        ({"TF_INTRA_OP_PARALLELISM_THREADS": "5", "DP_INTRA_OP_PARALLELISM_THREADS": "4"}, 4, 1),
        ({"DP_INTER_OP_PARALLELISM_THREADS": "2", "TF_INTER_OP_PARALLELISM_THREADS": "3"}, 0, 2),
        ({"DP_INTER_OP_PARALLELISM_THREADS": "0"}, 0, 0),
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


@pytest.mark.slow
def test_sessions_without_configuration_have_these_threads_too():
    def count(threads):
        environment = {**os.environ, **dict.fromkeys(VARIABLES[:2], str(threads))}
        return int(subprocess.check_output([sys.executable, "-c", COUNT], env=environment))

    assert count(6) - count(2) >= 8


def test_not_a_number(monkeypatch):
    monkeypatch.setenv("DP_INTRA_OP_PARALLELISM_THREADS", "many")
    with pytest.raises(InputError, match=r'DP_INTRA_OP_PARALLELISM_THREADS.*"many"'):
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


def test_callable():
    """It returns what session.run does, in the same structure, and raises the same errors."""
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float64, [None])
        n = tf.placeholder(tf.int32, [])
        variable = tf.Variable(1.0, use_resource=False)
        add = tf.assign_add(variable, 1.0).op
        checked = tf.debugging.check_numerics(2 * x, "what was said")
        session.run(variable.initializer)
        fetches = [
            add,
            {"b": n + 1, "a": [checked, checked, n + 1]},
            variable.initializer.inputs[1],
        ]
        call = make_callable(session, fetches, [x, n])
        values = np.array([1.0, 2.0, 3.0])
        # another type, and not contiguous
        for given in (values, values.astype(np.float32), np.repeat(values, 2)[::2], [1, 2, 3]):
            found = call(given, np.int64(4))
            expected = session.run(fetches, {x: given, n: 4})
            tf.nest.assert_same_structure(found, expected)
            for a, b in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
                np.testing.assert_array_equal(a, b)
                assert a is None or (a.dtype, a.shape) == (b.dtype, b.shape)
        assert session.run(variable) == 9.0
        with pytest.raises(tf.errors.InvalidArgumentError) as error:
            call([np.nan], 4)
        assert plain_message(error.value).startswith("what was said")
        with pytest.raises(ValueError, match="argument"):
            call(values)
