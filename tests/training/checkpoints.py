# SPDX-License-Identifier: BSD-3-Clause
"""What is in checkpoints, for tests to compare."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf


def variables(prefix: Path | str) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(str(prefix))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def assert_same_bits(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert set(one) == set(other)
    different = [name for name in one if one[name].tobytes() != other[name].tobytes()]
    assert not different


def without(folder: Path, suffix: str) -> None:
    """Checkpoints as programs leave them that do not write such a file, nor manifests."""
    for path in [*folder.glob(f"*{suffix}"), *folder.glob("*.manifest.json")]:
        path.unlink()
