# SPDX-License-Identifier: BSD-3-Clause
"""The loss of energy models: energies and what derives from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import fields
from deepmd_tf.errors import InputError
from deepmd_tf.losses.schedule import Prefactor
from deepmd_tf.losses.term import Term


class LossTensors(NamedTuple):
    """What the loss adds to the graph.

    Attributes
    ----------
    total
        float64 scalar, Σ_k weight_k · objective_k: what is minimised.
    values
        float64 [2, n_terms]: objectives and metrics of the batch, neither weighted nor normalised.
    """

    total: tf.Tensor
    values: tf.Tensor


def _difference(prediction: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
    return prediction - tf.reshape(label, tf.shape(prediction))


def _energy(outputs: Any, labels: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """E − Ê [n_frames], eV, float64."""
    return _difference(outputs.energy, labels["energy"])


def _force(outputs: Any, labels: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """F − F̂ [n_frames, 3N], eV/Å."""
    return _difference(outputs.force, labels["force"])


def _virial(outputs: Any, labels: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """V − V̂ [n_frames, 9], eV."""
    return _difference(outputs.virial, labels["virial"])


def energy_terms(config: Any) -> tuple[Term, ...]:
    """All terms of a ``loss`` section, in the order of their columns, the inactive ones included.

    With p = 1, or 2 with ``intensive_ener_virial``, and N atoms per frame:

    ======  ===========================  ================  =======================
    name    contribution to the loss     displayed         unit of what is displayed
    ======  ===========================  ================  =======================
    ``e``   w N^(−p) mean (E − Ê)²       √mean(…) / N      eV per atom
    ``f``   w mean (F − F̂)²              √mean(…)          eV/Å
    ``v``   w N^(−p) mean (V − V̂)²       √mean(…) / N      eV per atom
    ======  ===========================  ================  =======================
    """
    power = 2 if config.intensive_ener_virial else 1
    return (
        Term(
            name="e",
            labels=(fields.ENERGY,),
            residual=_energy,
            prefactor=Prefactor(config.start_pref_e, config.limit_pref_e),
            power=power,
            display_power=1,
        ),
        Term(
            name="f",
            labels=(fields.FORCE,),
            residual=_force,
            prefactor=Prefactor(config.start_pref_f, config.limit_pref_f),
        ),
        Term(
            name="v",
            labels=(fields.VIRIAL,),
            residual=_virial,
            prefactor=Prefactor(config.start_pref_v, config.limit_pref_v),
            power=power,
            display_power=1,
        ),
    )


class EnergyLoss:
    """Weighted sum of the active terms of a ``loss`` section.

    The weights of a step, find_k · prefactor_k(lr) · N^(−power_k), are computed in Python
    (:meth:`weights`) and fed as one small vector, so the graph holds nothing but residuals and
    measures.

    Parameters
    ----------
    config
        The ``loss`` section of the input script.

    Raises
    ------
    InputError
        If no term has a prefactor.
    """

    def __init__(self, config: Any) -> None:
        self.terms = tuple(t for t in energy_terms(config) if t.prefactor.active)
        if not self.terms:
            raise InputError(
                "loss: every prefactor is zero, so there is nothing to train; set start_pref_* and "
                "limit_pref_* of at least one term"
            )

    @property
    def labels(self) -> tuple[fields.Field, ...]:
        """Data items that the active terms need, each once."""
        return tuple(dict.fromkeys(label for term in self.terms for label in term.labels))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the displayed errors: the root of the loss, then one of each term."""
        return ("rmse", *(term.column for term in self.terms))

    def weights(
        self, lr: float, start_lr: float, flags: Mapping[str, float], natoms: int
    ) -> np.ndarray:
        """Weights of the terms for one batch, float64 [n_terms].

        Parameters
        ----------
        lr, start_lr
            Learning rate of the step, and the one that the schedule starts with.
        flags
            ``find_<label>`` of the batch: 1 where the label exists, 0 where it is missing.
        natoms
            Atoms in a frame, N.
        """
        return np.array(
            [t.weight(lr, start_lr, _found(t, flags), natoms) for t in self.terms], dtype=np.float64
        )

    def build(
        self, outputs: Any, labels: Mapping[str, tf.Tensor], weights: tf.Tensor
    ) -> LossTensors:
        """Add the loss to the graph.

        Parameters
        ----------
        outputs
            Of the model: tensors ``energy`` [n_frames], ``force`` [n_frames, 3N], ``virial``
            [n_frames, 9].
        labels
            Tensors of the data items by name, in any shape with the right number of elements.
        weights
            float64 [n_terms], see :meth:`weights`.
        """
        residuals = [term.residual(outputs, labels) for term in self.terms]
        objectives = [_mean(t.objective, r) for t, r in zip(self.terms, residuals, strict=True)]
        metrics = [
            o if t.metric is t.objective else _mean(t.metric, r)
            for t, r, o in zip(self.terms, residuals, objectives, strict=True)
        ]
        total = tf.add_n([weights[k] * value for k, value in enumerate(objectives)], name="loss")
        return LossTensors(
            total, tf.stack([tf.stack(objectives), tf.stack(metrics)], name="loss_values")
        )

    def displayed(
        self, values: np.ndarray, weights: np.ndarray, flags: Mapping[str, float], natoms: int
    ) -> dict[str, float]:
        """Errors to show, in the order of :attr:`columns`.

        Parameters
        ----------
        values
            :attr:`LossTensors.values` of a batch.
        weights, flags, natoms
            As in :meth:`weights`.
        """
        objectives, metrics = values
        errors = {"rmse": float(np.sqrt(np.dot(weights, objectives)))}
        for term, metric in zip(self.terms, metrics, strict=True):
            errors[term.column] = term.displayed(metric, _found(term, flags), natoms)
        return errors


def _found(term: Term, flags: Mapping[str, float]) -> float:
    return float(flags[term.labels[0].find_key])


def _mean(measure: Any, residual: tf.Tensor) -> tf.Tensor:
    return tf.cast(measure.mean(residual), tf.float64)
