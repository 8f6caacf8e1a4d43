# SPDX-License-Identifier: BSD-3-Clause
"""Small models as they come out of a training, for tests of everything that reads them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import small
import tensorflow.compat.v1 as tf
from plain_session import plain_session

from deepmd_tf.config import Config
from deepmd_tf.graph.attributes import add_attributes
from deepmd_tf.model.energy import Statistics
from deepmd_tf.model.kinds import make_model
from deepmd_tf.nn.variables import VariableParameters

INPUT = small.script(
    {"sel": [14, 26], "rcut": 4.0},
    {"resnet_dt": True, "seed": 2},
    learning_rate={"start_lr": 1e-3, "stop_lr": 1e-6},
)
INPUT["training"] = {"training_data": {"systems": ["data"]}, "numb_steps": 100}
MIN_NBOR_DIST = 0.8
AVG = np.array([[0.06, 0.0, 0.0, 0.0], [0.05, 0.0, 0.0, 0.0]])
STD = np.array([[0.11, 0.08, 0.08, 0.08], [0.09, 0.07, 0.07, 0.07]])
BIAS = np.array([-12.5, -3.25])


def small_input(descriptor: dict | None = None, fitting_net: dict | None = None) -> dict[str, Any]:
    """:data:`INPUT` with other options of the descriptor and of the fitting net."""
    script = copy.deepcopy(INPUT)
    script["model"]["descriptor"] |= descriptor or {}
    script["model"]["fitting_net"] |= fitting_net or {}
    return script


def save_checkpoint(
    folder: Path,
    script: dict[str, Any] | None = None,
    min_nbor_dist: float | None = MIN_NBOR_DIST,
    step: int = 100,
    weights: dict[str, np.ndarray] | None = None,
    pair_table: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[Path, dict[str, np.ndarray]]:
    """Write a checkpoint with these or random weights; returns its prefix and its variables."""
    config = Config.from_dict(script or INPUT)
    with tf.Graph().as_default():
        parameters = VariableParameters(weights)
        tables = {} if pair_table is None else {"": pair_table}
        model = make_model(config.model, pair_tables=tables, min_nbor_dist=min_nbor_dist)
        inputs = model.make_inputs(tf.float64)
        model.build(inputs, parameters, "reference", Statistics(AVG, STD, BIAS))
        tf.train.get_or_create_global_step()
        add_attributes(
            config.model,
            config.to_dict(),
            type_map=config.model.type_map,
            min_nbor_dist=min_nbor_dist,
            interface_dtype=inputs.dtype,
        )
        saver = tf.train.Saver(tf.global_variables())
        with plain_session() as session:
            session.run(tf.global_variables_initializer())
            prefix = saver.save(session, str(folder / "model.ckpt"), global_step=step)
            values = session.run(parameters.variables)
    return Path(prefix), values


def water_like(
    rng: np.random.Generator, n_atoms: int = 24, n_frames: int = 2, length: float = 7.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Atoms on a disturbed grid in a triclinic cell, at least 0.9 Å apart.

    Returns
    -------
    coords [n_frames, n_atoms, 3], cells [n_frames, 9], types [n_atoms], not sorted.
    """
    side = int(np.ceil(n_atoms ** (1 / 3)))
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3)[:n_atoms]
    cell = length * (np.eye(3) + np.array([[0, 0, 0], [0.2, 0, 0], [-0.1, 0.15, 0]]))
    coords = (grid / side) @ cell + rng.uniform(-0.4, 0.4, (n_frames, n_atoms, 3))
    types = rng.permutation(np.arange(n_atoms) % 3 != 0).astype(np.int32)
    return coords, np.tile(cell.reshape(1, 9), (n_frames, 1)), types


def constants_graph(
    weights: dict[str, np.ndarray],
    script: dict[str, Any] | None = None,
    min_nbor_dist: float | None = MIN_NBOR_DIST,
) -> tf.GraphDef:
    """The constants of a frozen file, without the nodes that compute: enough to read the model."""
    config = Config.from_dict(script or INPUT)
    with tf.Graph().as_default() as graph:
        for name, array in weights.items():
            tf.constant(array, name=name)
        add_attributes(
            config.model,
            config.to_dict(),
            type_map=config.model.type_map,
            min_nbor_dist=min_nbor_dist,
            interface_dtype=tf.as_dtype(weights["descrpt_attr/t_avg"].dtype),
        )
        return graph.as_graph_def()
