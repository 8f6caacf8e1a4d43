# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import json

import numpy as np
import pytest

from deepmd_tf.data import make_random, random_state, restore_random
from deepmd_tf.errors import DataError


def test_seed() -> None:
    a, b = make_random(-1), make_random(2**32 - 1)
    np.testing.assert_array_equal(a.random_sample(3), b.random_sample(3))
    assert make_random(None).random_sample() != make_random(None).random_sample()


def test_state_survives_json() -> None:
    rng = make_random(4)
    rng.normal(size=3)  # leaves a second normal number behind, which belongs to the state
    saved = json.loads(json.dumps(random_state(rng)))
    expected = rng.normal(size=700)
    other = make_random(None)
    restore_random(other, saved)
    np.testing.assert_array_equal(other.normal(size=700), expected)


@pytest.mark.parametrize("change", [{"key": [1, 2]}, {"bit_generator": "PCG64"}, {"pos": "x"}])
def test_damaged_state(change) -> None:
    rng = make_random(4)
    with pytest.raises(DataError, match="random generator cannot"):
        restore_random(rng, random_state(rng) | change)
