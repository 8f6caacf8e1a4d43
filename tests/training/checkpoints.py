# SPDX-License-Identifier: BSD-3-Clause
"""What is in checkpoints and frozen files, for tests to compare."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf.infer import DeepPot


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


def frame() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates, cell and types of six atoms near to each other."""
    rng = np.random.default_rng(6)
    sites = np.stack(np.meshgrid([0.0, 1.6], [0.0, 1.7, 3.4], [0.0]), axis=-1).reshape(-1, 3)
    coord = sites + rng.uniform(-0.2, 0.2, sites.shape)
    return coord[None], 7.0 * np.eye(3)[None], np.array([0, 1, 1, 0, 1, 1])


def evaluate(path: Path | str) -> list[np.ndarray]:
    """All quantities of that frame by the model of a file."""
    with DeepPot(path) as pot:
        return pot.eval(*frame(), atomic=True)
