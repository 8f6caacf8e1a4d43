# SPDX-License-Identifier: BSD-3-Clause
"""Losses of tensors and of densities of states against lines of NumPy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from plain_session import plain_session
from saved_models import small_input

from deepmd_tf.config import Config, LossDos
from deepmd_tf.data import Batch
from deepmd_tf.data.batch import PERIODIC_MESH, natoms_vector
from deepmd_tf.losses import DosLoss, make_loss

from .contract import LossContract

TYPES = np.array([[0, 0, 1, 1, 1]] * 3, np.int32)
SELECTED = TYPES[0] == 1


def losses_of(fitting: dict[str, Any], loss: dict[str, Any]) -> Any:
    config = Config.from_dict(small_input(fitting_net=fitting) | {"loss": loss})
    return make_loss(config.loss, config.model)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("kind", "size"), [("dipole", 3), ("polar", 9)])
def test_tensor(rng, kind: str, size: int, weighted: bool) -> None:
    """N counts the atoms in sel_type, weights multiply errors, not their squares."""
    of_frame, of_atoms = {
        "dipole": ("dipole", "atomic_dipole"),
        "polar": ("polarizability", "atomic_polarizability"),
    }[kind]
    section = {"type": "tensor", "pref": 0.3, "pref_atomic": 0.7, "enable_atomic_weight": weighted}
    loss = losses_of({"type": kind, "sel_type": [1]}, section)
    p, label = rng.normal(size=(2, 3, 5, size))
    total, w = rng.normal(size=(3, size)), rng.uniform(0.5, 2.0, (3, 5))
    arrays = {"type": TYPES, of_frame: total, of_atoms: label.reshape(3, -1), "atomic_weight": w}
    arrays |= {f"find_{name}": np.float32(1.0) for name in (of_frame, of_atoms, "atomic_weight")}
    batch = Batch(arrays, natoms_vector(TYPES, 2), PERIODIC_MESH, 0, "set", np.arange(3))
    with tf.Graph().as_default(), plain_session() as session:
        model = SimpleNamespace(
            atomic=tf.constant(p),
            of_selected=tf.constant(p[:, SELECTED]),
            select=lambda values: tf.boolean_mask(values, SELECTED, axis=1),
        )
        weights = loss.weights(1e-3, 1e-3, batch)
        built = loss.build(
            model, {k: tf.constant(v) for k, v in arrays.items()}, tf.constant(weights)
        )
        got, values = session.run((built.total, built.values))
    error = (p - label)[:, SELECTED] * (w[:, SELECTED, None] if weighted else 1.0)
    lc, gl = np.mean(error**2), np.mean((p[:, SELECTED].sum(axis=1) - total) ** 2)
    assert got == pytest.approx(0.7 * lc + 0.3 * gl / 3, rel=1e-12)
    shown = loss.displayed(values, weights, batch)
    expected = {"rmse": np.sqrt(got), "rmse_lc": np.sqrt(lc), "rmse_gl": np.sqrt(gl) / 3}
    assert shown == pytest.approx(expected, rel=1e-12) and [*shown] == [*expected]
    lone = losses_of({"type": kind, "sel_type": [1]}, section | {"pref": 0.0})
    assert lone.columns == ("rmse", "rmse_lc")


class TestDosLoss(LossContract):
    loss = DosLoss
    outputs: ClassVar = {"dos": "dos", "atom_dos": "atom_dos"}
    cases: ClassVar = {
        "default": {},
        "all": {
            f"{when}_pref_{term}": value
            for when, share in (("start", 1.0), ("limit", 0.5))
            for term, value in (("dos", 2 * share), ("cdf", share), ("acdf", 3.0), ("ados", share))
        },
    }

    @classmethod
    def losses(cls) -> dict[str, Any]:
        """The contract knows items by their record, of one number."""
        script = small_input(fitting_net={"type": "dos", "numb_dos": 1})
        model = Config.from_dict(script | {"loss": {"type": "dos"}}).model
        return {case: DosLoss(LossDos(**keys), model) for case, keys in cls.cases.items()}


def test_running_sums(rng) -> None:
    """Of the grid, which with one point are the density itself."""
    keys = dict.fromkeys((f"{w}_pref_{t}" for w in ("start", "limit") for t in ("ados",)), 0.0)
    keys |= dict.fromkeys(
        (f"{w}_pref_{t}" for w in ("start", "limit") for t in ("cdf", "acdf")), 1.0
    )
    loss = losses_of({"type": "dos", "numb_dos": 4}, {"type": "dos", **keys})
    assert loss.columns == ("rmse", "rmse_cdf", "rmse_acdf")
    g, label = rng.normal(size=(2, 3, 5, 4))
    arrays = {"type": TYPES, "dos": label.sum(axis=1), "atom_dos": label.reshape(3, -1)}
    arrays |= {f"find_{name}": np.float32(1.0) for name in ("dos", "atom_dos")}
    batch = Batch(arrays, natoms_vector(TYPES, 2), PERIODIC_MESH, 0, "set", np.arange(3))
    weights = loss.weights(1e-3, 1e-3, batch)
    with tf.Graph().as_default(), plain_session() as session:
        model = SimpleNamespace(dos=tf.constant(g.sum(axis=1)), atom_dos=tf.constant(g))
        labels = {k: tf.constant(v) for k, v in arrays.items()}
        got = session.run(loss.build(model, labels, tf.constant(weights)).total)
    atoms = np.cumsum(g - label, axis=-1)
    expected = np.mean(atoms.sum(axis=1) ** 2) / 5 + np.mean(atoms**2)
    assert got == pytest.approx(expected, rel=1e-12)
