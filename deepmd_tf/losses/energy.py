# SPDX-License-Identifier: BSD-3-Clause
"""The loss of energy models: a table of terms of energies and their derivatives."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow.compat.v1 as tf

from deepmd_tf import fields
from deepmd_tf.config import LossEner, LossEnerSpin
from deepmd_tf.fields import Field
from deepmd_tf.losses.loss import TermLoss
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
from deepmd_tf.losses.term import Labels, Powers, Residual, Term


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


class EnergyLoss(TermLoss):
    """The terms of the ``loss`` section of an energy model, in the order of their columns.

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
    - ``relative_f``: x of ``f`` and ``pf`` is divided by ``|F̂_i| + relative_f``.
    - ``loss_func: "mae"``: abs(x) in place of x², p = 1; with ``f_use_norm`` the mean over atoms of
      the length of x in ``f``.
    - ``use_huber``: h(x) in place of x², p = 0, and x of ``e``, ``v``, ``de`` is divided by N; with
      ``f_use_norm`` h of the length of x in ``f``. δ is that of energies for ``e``, ``ae``, ``de``,
      that of virials for ``v`` and that of forces for the others (for ``h`` in eV/Å²).

    In training x of ``h`` may be (H − Ĥ) v for random directions v of length 1 in place of H − Ĥ:
    vectors of signs have the same mean of squares, unit vectors the same mean of anything.

    Displayed is √(mean w x²), or with ``"mae"`` what is minimised; of ``e``, ``v``, ``de`` divided
    by N.

    The terms read ``energy`` [n_frames], ``force`` [n_frames, 3N], ``virial`` [n_frames, 9] and
    ``atom_energy`` [n_frames, N] of the model, ``h`` also ``hessian`` and ``directions``, see
    :class:`~deepmd_tf.model.ModelOutputs`.

    Raises
    ------
    InputError
        If no term has a prefactor.
    """

    config_class = LossEner

    def __init__(self, config: LossEner) -> None:
        super().__init__(energy_terms(config))


def energy_terms(config: LossEner) -> tuple[Term, ...]:
    """The terms of :class:`EnergyLoss`, the inactive ones included."""
    delta_e, delta_f, delta_v = config.huber_deltas
    relative_f = config.relative_f
    force = _force if relative_f is None else _relative_force(relative_f)
    energy: Residual = _energy
    coefficients: tuple[Field, ...] = ()
    if config.enable_atom_ener_coeff:
        energy, coefficients = _reaction_energy, (fields.ATOM_ENER_COEFF,)
    weight = fields.ATOM_PREF
    weight_label: tuple[Field, ...] = (weight,)
    weight_default: tuple[Field, ...] = ()
    if config.use_default_pf:
        weight = dataclasses.replace(weight, default=1.0)
        weight_label, weight_default = (), (weight,)
    drdq = fields.DRDQ.with_dof(3 * config.numb_generalized_coord)
    by_atom = Powers(count=1)
    if config.use_huber:
        extensive, pairs = Powers(residual=1), differences
    elif config.loss_func == "mae":
        extensive, pairs = Powers(loss=1, display=1), gaps
    else:
        power = 2 if config.intensive_ener_virial else 1
        extensive, pairs = Powers(loss=power, display=1), centred

    def term(
        name: str,
        residual: Residual,
        *labels: Field,
        delta: float,
        length: bool = False,
        **keys: Any,
    ) -> Term:
        measures = _measures(config, delta, length)
        return Term(name, labels, residual, Prefactor.of(config, name), **measures, **keys)

    return (
        term("e", energy, fields.ENERGY, delta=delta_e, defaults=coefficients, powers=extensive),
        term("ae", _atom_energy, fields.ATOM_ENER, delta=delta_e, powers=by_atom),
        term("f", force, fields.FORCE, delta=delta_f, length=config.f_use_norm, powers=by_atom),
        term("v", _virial, fields.VIRIAL, delta=delta_v, powers=extensive),
        term("h", _hessian, fields.HESSIAN, delta=delta_f, powers=Powers(count=2)),
        term(
            "pf",
            force,
            fields.FORCE,
            *weight_label,
            delta=delta_f,
            defaults=weight_default,
            element_weight=weight,
            powers=by_atom,
        ),
        term("gf", _generalized_force, fields.FORCE, drdq, delta=delta_f),
        term(
            "de",
            _relative(energy, pairs),
            fields.ENERGY,
            delta=delta_e,
            defaults=coefficients,
            min_frames=2,
            powers=extensive,
        ),
    )


class EnergySpinLoss(TermLoss):
    """The terms of the ``loss`` section of an energy model with spins, in the order of their
    columns.

    ======  =====================================  ================
    name    residual x, and its unit               loss
    ======  =====================================  ================
    ``e``   E − Ê, eV                              N^(−p) mean x²
    ``ae``  E_i − Ê_i of real atoms, eV            mean x²
    ``fr``  F − F̂ of real atoms, eV/Å              mean x²
    ``fm``  F − F̂ of virtual atoms, eV per spin    mean x²
    ``v``   Ξ − Ξ̂, eV                              N^(−p) mean x²
    ======  =====================================  ================

    N is the number of atoms of a frame, virtual ones included; p = 1, or 2 with
    ``intensive_ener_virial``. Displayed is √(mean x²), of ``e`` and ``v`` divided by N.

    The terms read what those of :class:`EnergyLoss` read, and ``inputs.n_real`` of the model, the
    number of real atoms, which come first.

    Raises
    ------
    InputError
        If no term has a prefactor.
    """

    config_class = LossEnerSpin

    def __init__(self, config: LossEnerSpin) -> None:
        energy: Residual = _energy
        coefficients: tuple[Field, ...] = ()
        if config.enable_atom_ener_coeff:
            energy, coefficients = _reaction_energy, (fields.ATOM_ENER_COEFF,)
        extensive = Powers(loss=2 if config.intensive_ener_virial else 1, display=1)

        def term(name: str, residual: Residual, label: Field, **keys: Any) -> Term:
            return Term(name, (label,), residual, Prefactor.of(config, name), **keys)

        super().__init__(
            (
                term("e", energy, fields.ENERGY, defaults=coefficients, powers=extensive),
                term("ae", _real_atom_energy, fields.ATOM_ENER),
                term("fr", _real_force, fields.FORCE),
                term("fm", _magnetic_force, fields.FORCE),
                term("v", _virial, fields.VIRIAL, powers=extensive),
            )
        )


def _real_atom_energy(outputs: Any, labels: Labels) -> tf.Tensor:
    """E_i − Ê_i of real atoms, eV."""
    return _atom_energy(outputs, labels)[:, : outputs.inputs.n_real]


def _real_force(outputs: Any, labels: Labels) -> tf.Tensor:
    """F − F̂ of real atoms, eV/Å."""
    return _force(outputs, labels)[:, : 3 * outputs.inputs.n_real]


def _magnetic_force(outputs: Any, labels: Labels) -> tf.Tensor:
    """F − F̂ of virtual atoms, eV per unit of spin."""
    return _force(outputs, labels)[:, 3 * outputs.inputs.n_real :]


def _measures(config: LossEner, delta: float, length: bool) -> dict[str, Any]:
    """Objective and displayed error of a residual; with ``length``, of its vectors' lengths."""
    if config.loss_func == "mae":
        if length:
            return {"objective": mean_length, "metric": MEAN_LENGTH}
        return {"objective": mean_absolute, "metric": MEAN_ABSOLUTE}
    objective = mean_huber(delta, length=length) if config.use_huber else mean_square
    return {"objective": objective, "metric": ROOT_MEAN_SQUARE}
