# SPDX-License-Identifier: BSD-3-Clause
"""Opened models are copied, sent to other processes, and say what keeps them from a forked one."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import select
import warnings
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from saved_models import save_checkpoint, water_like

from deepmd_tf import names
from deepmd_tf.config.type_embedding import TypeEmbeddingConfig
from deepmd_tf.data.checks.findings import Finding, FindingsError, FindingsInputError
from deepmd_tf.errors import DeepmdError, InputError
from deepmd_tf.export.compress import compress
from deepmd_tf.graph.refusals import FrameError
from deepmd_tf.infer import DeepPot
from deepmd_tf.nn.first_values import Draws, Normal
from deepmd_tf.nn.parameters import ConstantParameters
from deepmd_tf.nn.type_embedding import TypeEmbedding

PATIENCE = 60.0


@pytest.fixture(scope="module", params=["weights", "graph"])
def opened(request, tmp_path_factory):
    """A model that is rebuilt from its weights, or run as the graph of a compressed file."""
    folder = tmp_path_factory.mktemp(request.param)
    path = save_checkpoint(folder)[0]
    if request.param == "graph":
        path = compress(path, folder / "compressed.pb").path
    with DeepPot(path, auto_batch_size=48) as pot:
        for file in folder.iterdir():
            file.unlink()
        yield pot


@pytest.fixture
def frames(rng):
    return water_like(rng, n_frames=3)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda pot: pickle.loads(pickle.dumps(pot))], ids=["copy", "pickle"]
)
def test_a_copy_has_the_same_numbers_and_a_session_of_its_own(opened, frames, copied):
    """Also when the file has gone, and after the first one was closed."""
    expected = opened.eval(*frames, atomic=True)
    with copied(opened) as other:
        for got, wanted in zip(other.eval(*frames, atomic=True), expected, strict=True):
            np.testing.assert_array_equal(got, wanted)
        assert other.get_type_map() == opened.get_type_map()
    assert np.array_equal(opened.eval(*frames)[0], expected[0])


def test_a_copy_of_a_closed_model_works(saved, frames):
    pot = DeepPot(saved)
    expected = pot.eval(*frames)[0]
    pot.close()
    with copy.deepcopy(pot) as other:
        np.testing.assert_array_equal(other.eval(*frames)[0], expected)


def test_another_process_takes_a_model(saved, frames, monkeypatch):
    context = multiprocessing.get_context("spawn")
    with DeepPot(saved) as pot, ProcessPoolExecutor(1, context) as pool:
        found = pool.submit(pot.eval, *frames).result(PATIENCE)
        np.testing.assert_allclose(found[1], pot.eval(*frames)[1], rtol=1e-12, atol=1e-12)


def said_in_a_fork(call):
    """What ``call`` raises in a forked process."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that is what is tested
        child = os.fork()
    if child == 0:
        try:
            call()
            said = "nothing"
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    ready, _, _ = select.select([reading], [], [], PATIENCE)
    if not ready:
        os.kill(child, 9)
    os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as pipe:
        return pipe.read().decode() if ready else "it hangs"


def vectors_of_types():
    """Evaluated while a graph with constant weights is built."""
    types = TypeEmbedding(TypeEmbeddingConfig(neuron=[3]), 2)
    with tf.Graph().as_default():
        types.vectors(ConstantParameters({names.type_embedding_matrix(1): np.eye(2, 3)}))


def first_weights():
    """Drawn for nets outside of the graph."""
    with Draws() as draws:
        draws.normal(Normal(0.0, 1.0, 1), (2,), tf.float64)


CALLS = ["the model", "a Hessian", "a copy", "another model", "vectors", "weights"]


@pytest.mark.parametrize("what", CALLS)
def test_a_forked_process_is_told_what_to_do(saved, frames, what):
    with DeepPot(saved) as pot:
        calls = {
            "the model": lambda: pot.eval(*frames),
            "a Hessian": lambda: pot.eval_hessian(*frames),
            "a copy": lambda: copy.deepcopy(pot).eval(*frames),
            "another model": lambda: DeepPot(saved),
            "vectors": vectors_of_types,
            "weights": first_weights,
        }
        said = said_in_a_fork(calls[what])
    assert said.startswith("InputError: this process (")
    assert f"forked from one ({os.getpid()})" in said and 'get_context("spawn")' in said


def test_a_forked_process_can_let_a_model_go(saved, frames):
    with DeepPot(saved) as pot:
        pot.eval(*frames)
        assert said_in_a_fork(pot.close) == "nothing"


def subclasses(kind):
    return [kind, *(one for child in kind.__subclasses__() for one in subclasses(child))]


def test_errors_reach_other_processes_as_they_are():
    """An exception that cannot be read again stops a pool of processes for ever."""
    finding = Finding("check", "energy.npy", "frame 3 is not finite", error=InputError)
    arguments = {
        FrameError: (3, "has atoms 1 and 2 in the same place", "remove it"),
        FindingsError: ([finding],),
        FindingsInputError: ([finding],),
    }
    for kind in subclasses(DeepmdError):
        error = kind(*arguments.get(kind, ("what is wrong",)))
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is kind and str(again) == str(error)
        assert again.__dict__ == error.__dict__
