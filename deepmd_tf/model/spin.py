# SPDX-License-Identifier: BSD-3-Clause
"""The energy of atoms with spins, which are virtual atoms (DeepSPIN)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf.config.spin import SpinConfig
from deepmd_tf.descriptors import Features
from deepmd_tf.environment import ModelInputs, PullBack
from deepmd_tf.environment.inputs import Spins
from deepmd_tf.fitting import FittingOutput
from deepmd_tf.model.energy import EnergyModel, ModelOutputs
from deepmd_tf.nn.parameters import Parameters


class SpinEnergyModel(EnergyModel):
    r"""An energy model of atoms and of virtual atoms that stand for their spins m:

    .. math::

        E(r, m) = \sum_i E_i(D_i), \qquad r_{v(i)} = r_i + \frac{l}{m_0} m_i

    with the sum over real atoms, l = ``virtual_len`` and m₀ = ``spin_norm`` of the type. Virtual
    atoms are neighbours like others, each of the type that belongs to that of its atom, and have no
    energy.

    Forces of real atoms are :math:`-∂E/∂r_i` at fixed spins, :math:`F_i + F_{v(i)}`; those of
    virtual atoms are :math:`-∂E/∂m_i = F_{v(i)} l / m_0`, in eV per unit of spin; F are minus the
    derivatives by the coordinates of each atom by itself. The virial is the derivative by a strain
    that takes atoms along, and leaves spins as they are.
    """

    def make_inputs(self, dtype: tf.DType, *, mixed: bool = False) -> ModelInputs:
        spin = cast(SpinConfig, self.config.spin)
        inputs = super().make_inputs(dtype, mixed=mixed)
        return replace(inputs, spins=Spins(tuple(spin.lengths)))

    def on_coordinates(self, inputs: ModelInputs, found: PullBack) -> PullBack:
        spins = cast(Spins, inputs.spins)
        return found._replace(force=spins.on_spins(inputs, found.force))

    def fit(
        self,
        features: Features,
        inputs: ModelInputs,
        parameters: Parameters,
        first: Mapping[str, np.ndarray] | None,
        native: bool,
    ) -> FittingOutput:
        """Energies of real atoms, which come first."""
        n = self.fitting.ntypes
        return self.fitting.build(
            features.by_type[:n], inputs.of_types(n), parameters, first, native
        )

    def build(self, inputs: ModelInputs, *arguments: Any, **options: Any) -> ModelOutputs:
        """See :meth:`EnergyModel.build`; virtual atoms have the energy 0. The node in files has the
        energies of real atoms.
        """
        found = super().build(inputs, *arguments, **options)
        missing = inputs.n_loc - inputs.n_real
        return replace(found, atom_energy=tf.pad(found.atom_energy, [[0, 0], [0, missing]]))


def bias_of_real_atoms(bias: np.ndarray, spin: SpinConfig | None) -> np.ndarray:
    """Bias of the types that have energies, eV, from that of all: a type with a spin has that of
    its virtual atoms, too.
    """
    if spin is None:
        return bias
    real = bias[: -spin.count].copy()
    real[: spin.count] += bias[-spin.count :]
    return real


def most_of_real_types(most: np.ndarray, virtual: int) -> np.ndarray:
    """Largest numbers of neighbours of the real types, which their virtual atoms share, from those
    of all types, of which the last ``virtual`` are of virtual atoms.
    """
    if not virtual:
        return most
    real = most[:-virtual].copy()
    real[:virtual] = np.maximum(real[:virtual], most[-virtual:])
    return real
