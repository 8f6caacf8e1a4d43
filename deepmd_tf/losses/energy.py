# SPDX-License-Identifier: BSD-3-Clause
"""The loss of energy models: energies and what derives from them."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import fields
from deepmd_tf.config import LossEner
from deepmd_tf.data import Batch
from deepmd_tf.errors import InputError
from deepmd_tf.losses.measures import (
    MEAN_ABSOLUTE,
    MEAN_LENGTH,
    ROOT_MEAN_SQUARE,
    mean_absolute,
    mean_huber,
    mean_length,
    mean_square,
)
from deepmd_tf.losses.relative import centred, differences, gaps
from deepmd_tf.losses.schedule import Prefactor
from deepmd_tf.losses.term import Labels, MixedFrames, Residual, Term


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


def _energy(outputs: Any, labels: Labels) -> tf.Tensor:
    """E − Ê [n_frames], eV, float64."""
    return _difference(outputs.energy, labels["energy"])


def _reaction_energy(outputs: Any, labels: Labels) -> tf.Tensor:
    """Σ_i c_i E_i − Ê [n_frames], eV, float64."""
    atom_energy = tf.cast(outputs.atom_energy, tf.float64)
    coefficients = tf.reshape(labels["atom_ener_coeff"], tf.shape(atom_energy))
    energy = tf.reduce_sum(tf.cast(coefficients, tf.float64) * atom_energy, axis=1)
    return _difference(energy, labels["energy"])


def _atom_energy(outputs: Any, labels: Labels) -> tf.Tensor:
    """E_i − Ê_i [n_frames, N], eV."""
    return _difference(outputs.atom_energy, labels["atom_ener"])


def _force(outputs: Any, labels: Labels) -> tf.Tensor:
    """F − F̂ [n_frames, 3N], eV/Å."""
    return _difference(outputs.force, labels["force"])


def _relative_force(shift: float) -> Residual:
    """(F_i − F̂_i) / (|F̂_i| + shift) of each atom, [n_frames N, 3]."""

    def residual(outputs: Any, labels: Labels) -> tf.Tensor:
        label = tf.reshape(labels["force"], [-1, 3])
        scale = tf.norm(label, axis=1, keepdims=True) + shift
        return (tf.reshape(outputs.force, [-1, 3]) - label) / scale

    return residual


def _virial(outputs: Any, labels: Labels) -> tf.Tensor:
    """Ξ − Ξ̂ [n_frames, 9], eV."""
    return _difference(outputs.virial, labels["virial"])


def _hessian(outputs: Any, labels: Labels) -> tf.Tensor:
    """H − Ĥ [n_frames, 3N, 3N], or (H − Ĥ) v for k directions v, [n_frames, k, 3N], eV/Å²."""
    label = labels["hessian"]
    directions = getattr(outputs, "directions", None)
    if directions is not None:
        shape = tf.shape(directions)
        label = tf.matmul(directions, tf.reshape(label, [shape[0], shape[2], shape[2]]))
    return _difference(outputs.hessian, label)


def _generalized_force(outputs: Any, labels: Labels) -> tf.Tensor:
    """Q − Q̂ [n_frames, n_q], Q_j = Σ_i F_i · ∂r_i/∂q_j, eV per unit of q."""
    force = _force(outputs, labels)
    shape = tf.shape(force)
    drdq = tf.reshape(labels["drdq"], [shape[0], shape[1], -1])
    return tf.linalg.matvec(drdq, force, transpose_a=True)


def _relative(energy: Residual, pairs: Any) -> Residual:
    """Differences of the errors of frames, eV; ``pairs`` is of :mod:`deepmd_tf.losses.relative`."""
    return lambda outputs, labels: pairs(energy(outputs, labels))


def energy_terms(config: LossEner) -> tuple[Term, ...]:
    """All terms of a ``loss`` section, in the order of their columns, the inactive ones included.

    ======  =====================================  ======================================
    name    residual x, and its unit               loss with ``loss_func: "mse"``
    ======  =====================================  ======================================
    ``e``   E − Ê, eV                              N^(−p) mean x²
    ``ae``  E_i − Ê_i, eV                          mean x²
    ``f``   F − F̂, eV/Å                            mean x²
    ``v``   Ξ − Ξ̂, eV                              N^(−p) mean x²
    ``h``   H − Ĥ, eV/Å²                           mean x²
    ``pf``  as ``f``, with w = ``atom_pref``       mean w x²
    ``gf``  Σ_i (F_i − F̂_i) · ∂r_i/∂q, eV/[q]      mean x²
    ``de``  (E_a − E_b) − (Ê_a − Ê_b), eV          N^(−p) mean x², over pairs of frames
    ======  =====================================  ======================================

    N is the number of atoms of a frame; p = 1, or 2 with ``intensive_ener_virial``. Means are over
    the frames of a batch and what each has; where frames have different atoms, every frame counts
    the same.

    - ``enable_atom_ener_coeff``: E = Σ c_i E_i in ``e`` and ``de``.
    - ``relative_f``: x of ``f`` and ``pf`` is divided by |F̂_i| + relative_f.
    - ``loss_func: "mae"``: abs(x) in place of x², p = 1; with ``f_use_norm`` the mean over atoms of
      the length of x in ``f``.
    - ``use_huber``: h(x) in place of x², p = 0, and x of ``e``, ``v``, ``de`` is divided by N; with
      ``f_use_norm`` h of the length of x in ``f``. δ is that of energies for ``e``, ``ae``, ``de``,
      that of virials for ``v`` and that of forces for the others (for ``h`` in eV/Å²).

    In training x of ``h`` may be (H − Ĥ) v for random directions v of length 1 in place of H − Ĥ:
    vectors of signs have the same mean of squares, unit vectors the same mean of anything.

    Displayed is √(mean w x²), or with ``"mae"`` what is minimised; of ``e``, ``v``, ``de`` divided
    by N.
    """
    delta_e, delta_f, delta_v = config.huber_deltas
    relative_f = config.relative_f
    force = _force if relative_f is None else _relative_force(relative_f)
    with_coefficients = config.enable_atom_ener_coeff
    energy = _reaction_energy if with_coefficients else _energy
    energy_defaults = (fields.ATOM_ENER_COEFF,) if with_coefficients else ()
    atom_pref = fields.ATOM_PREF
    if config.use_default_pf:
        atom_pref = dataclasses.replace(atom_pref, default=1.0)

    def measures(delta: float, *, length: bool = False) -> dict[str, Any]:
        if config.loss_func == "mae":
            if length:
                return {"objective": mean_length, "metric": MEAN_LENGTH}
            return {"objective": mean_absolute, "metric": MEAN_ABSOLUTE}
        objective = mean_huber(delta, length=length) if config.use_huber else mean_square
        return {"objective": objective, "metric": ROOT_MEAN_SQUARE}

    if config.use_huber:
        extensive, pairs = {"inner_power": 1}, differences
    elif config.loss_func == "mae":
        extensive, pairs = {"power": 1, "display_power": 1}, gaps
    else:
        power = 2 if config.intensive_ener_virial else 1
        extensive, pairs = {"power": power, "display_power": 1}, centred

    return (
        Term(
            name="e",
            labels=(fields.ENERGY,),
            defaults=energy_defaults,
            residual=energy,
            prefactor=Prefactor(config.start_pref_e, config.limit_pref_e),
            **extensive,
            **measures(delta_e),
        ),
        Term(
            name="ae",
            labels=(fields.ATOM_ENER,),
            residual=_atom_energy,
            extent=1,
            prefactor=Prefactor(config.start_pref_ae, config.limit_pref_ae),
            **measures(delta_e),
        ),
        Term(
            name="f",
            labels=(fields.FORCE,),
            residual=force,
            extent=1,
            prefactor=Prefactor(config.start_pref_f, config.limit_pref_f),
            **measures(delta_f, length=config.f_use_norm),
        ),
        Term(
            name="v",
            labels=(fields.VIRIAL,),
            residual=_virial,
            prefactor=Prefactor(config.start_pref_v, config.limit_pref_v),
            **extensive,
            **measures(delta_v),
        ),
        Term(
            name="h",
            labels=(fields.HESSIAN,),
            residual=_hessian,
            extent=2,
            prefactor=Prefactor(config.start_pref_h, config.limit_pref_h),
            **measures(delta_f),
        ),
        Term(
            name="pf",
            labels=(fields.FORCE,) if config.use_default_pf else (fields.FORCE, atom_pref),
            defaults=(atom_pref,) if config.use_default_pf else (),
            residual=force,
            extent=1,
            element_weight=atom_pref,
            prefactor=Prefactor(config.start_pref_pf, config.limit_pref_pf),
            **measures(delta_f),
        ),
        Term(
            name="gf",
            labels=(fields.FORCE, fields.DRDQ.with_dof(3 * config.numb_generalized_coord)),
            residual=_generalized_force,
            prefactor=Prefactor(config.start_pref_gf, config.limit_pref_gf),
            **measures(delta_f),
        ),
        Term(
            name="de",
            labels=(fields.ENERGY,),
            defaults=energy_defaults,
            residual=_relative(energy, pairs),
            prefactor=Prefactor(config.start_pref_de or 0.0, config.limit_pref_de or 0.0),
            min_frames=2,
            **extensive,
            **measures(delta_e),
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

    def __init__(self, config: LossEner) -> None:
        self.terms = tuple(t for t in energy_terms(config) if t.prefactor.active)
        if not self.terms:
            raise InputError(
                "loss: every prefactor is zero, so there is nothing to train; set start_pref_* and "
                "limit_pref_* of at least one term"
            )

    @property
    def hessian(self) -> int | None:
        """Place of the Hessian among the terms, if it is one."""
        return next((k for k, term in enumerate(self.terms) if term.name == "h"), None)

    @property
    def labels(self) -> tuple[fields.Field, ...]:
        """Data items that the active terms read, each once."""
        items = (item for term in self.terms for item in (*term.labels, *term.defaults))
        return tuple(dict.fromkeys(items))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the displayed errors: the root of the loss, then one of each term."""
        return ("rmse", *(term.column for term in self.terms))

    def weights(self, lr: float, start_lr: float, batch: Batch) -> np.ndarray:
        """Weights of the terms for one batch, float64 [n_terms].

        Parameters
        ----------
        lr, start_lr
            Learning rate of the step, and the one that the schedule starts with.
        batch
            Its number of atoms and its ``find_<label>`` count: a term whose labels are missing has
            weight 0.
        """
        return np.array([t.weight(lr, start_lr, batch) for t in self.terms], dtype=np.float64)

    def found(self, batch: Batch) -> np.ndarray:
        """Which frames have the labels of which terms, float64 [n_terms, n_frames]: 1 or 0."""
        return np.array([term.frames_in(batch) for term in self.terms], dtype=np.float64)

    def build(
        self,
        outputs: Any,
        labels: Labels,
        weights: tf.Tensor,
        *,
        without: Collection[str] = (),
        mixed: MixedFrames | None = None,
    ) -> LossTensors:
        """Add the loss to the graph.

        Parameters
        ----------
        outputs
            Of the model: tensors ``energy`` [n_frames], ``force`` [n_frames, 3N], ``virial``
            [n_frames, 9], ``atom_energy`` [n_frames, N]; for the term ``h`` also ``hessian`` and
            ``directions``, see :class:`~deepmd_tf.model.ModelOutputs`.
        labels
            Tensors of the data items by name, in any shape with the right number of elements.
        weights
            float64 [n_terms], see :meth:`weights`.
        without
            Names of terms that are taken as 0.
        mixed
            Where the frames of a batch differ, how.
        """
        zero = (tf.zeros([], tf.float64),) * 2
        built = [
            zero if term.name in without else term.build(outputs, labels, mixed, number)
            for number, term in enumerate(self.terms)
        ]
        objectives, metrics = ([pair[i] for pair in built] for i in (0, 1))
        # one after the other: the order in which add_n adds depends on timing
        total = functools.reduce(
            operator.add, (weights[k] * value for k, value in enumerate(objectives))
        )
        total = tf.identity(total, name="loss")
        return LossTensors(
            total, tf.stack([tf.stack(objectives), tf.stack(metrics)], name="loss_values")
        )

    def displayed(self, values: np.ndarray, weights: np.ndarray, batch: Batch) -> dict[str, float]:
        """Errors to show, in the order of :attr:`columns`.

        Parameters
        ----------
        values
            :attr:`LossTensors.values` of a batch.
        weights, batch
            As in :meth:`weights`.
        """
        objectives, metrics = values
        errors = {"rmse": float(np.sqrt(np.dot(weights, objectives)))}
        for term, metric in zip(self.terms, metrics, strict=True):
            errors[term.column] = term.displayed(metric, batch)
        return errors
