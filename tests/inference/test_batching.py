# SPDX-License-Identifier: BSD-3-Clause
"""Batches cover all frames once, shrink when memory runs out, and give up at a single frame."""

from __future__ import annotations

import pytest
import tensorflow.compat.v1 as tf

from deepmd_tf.errors import InputError
from deepmd_tf.graph.refusals import FrameError, translate
from deepmd_tf.inference.batching import BatchSize


def sizes(batch: BatchSize, n_frames: int, n_atoms: int) -> list[int]:
    seen: list[slice] = []
    batch.run(n_frames, n_atoms, seen.append)
    assert [i for part in seen for i in range(part.start, part.stop)] == list(range(n_frames))
    return [part.stop - part.start for part in seen]


def test_atoms_bound_the_batch():
    assert sizes(BatchSize(100), 7, 30) == [3, 3, 1]


def test_one_frame_at_least():
    assert sizes(BatchSize(100), 2, 1000) == [1, 1]


def test_all_at_once():
    assert sizes(BatchSize(None), 50, 1000) == [50]


def test_environment_wins(monkeypatch):
    monkeypatch.setenv("DP_INFER_BATCH_SIZE", "60")
    assert sizes(BatchSize(None), 4, 30) == [2, 2]
    monkeypatch.setenv("DP_INFER_BATCH_SIZE", "many")
    with pytest.raises(InputError, match="DP_INFER_BATCH_SIZE"):
        BatchSize()


@pytest.mark.parametrize("error", [MemoryError(), tf.errors.ResourceExhaustedError(None, None, "")])
def test_halved_when_memory_runs_out(error):
    done: list[int] = []

    def evaluate(part: slice) -> None:
        if part.stop - part.start > 3:
            raise error
        done.extend(range(part.start, part.stop))

    batch = BatchSize(None)
    batch.run(20, 10, evaluate)
    assert done == list(range(20))
    assert batch.atoms == 20  # 20 -> 10 -> 5 -> 2 frames of 10 atoms


def test_a_single_frame_that_does_not_fit():
    def evaluate(part: slice) -> None:
        raise MemoryError

    with pytest.raises(InputError, match="10 atoms"):
        BatchSize(40).run(8, 10, evaluate)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("too many pairs in one call: 3000000000; give it fewer frames or atoms", MemoryError),
        ("too many atoms in one call: 9 frames of 8 atoms", MemoryError),
        ("frame 3 needs more memory for its neighbour list than there is", MemoryError),
        ("frame 3 has a box of zero volume; what else", FrameError),
        ("rcut is 0, expected a positive number", tf.errors.InvalidArgumentError),
    ],
)
def test_what_ops_say(message, error):
    said = f"2 root error(s) found.\n  (0) INVALID_ARGUMENT: {message}\n\t [[{{{{node X}}}}]]"
    assert type(translate(tf.errors.InvalidArgumentError(None, None, said))) is error
    said = f"Graph execution error:\n\nNode: 'X'\n{message}\n\t [[{{{{node X}}}}]]"
    got = translate(tf.errors.InvalidArgumentError(None, None, said))
    assert type(got) is error
    if error is not tf.errors.InvalidArgumentError:
        assert str(got) == message.partition(";")[0]


def test_a_frame_of_too_many_pairs():
    def evaluate(part: slice) -> None:
        raise MemoryError("too many pairs in one call: 3000000000")

    with pytest.raises(InputError, match=r"10 atoms does not fit into memory \(too many pairs"):
        BatchSize(None).run(8, 10, evaluate)
