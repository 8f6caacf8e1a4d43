# SPDX-License-Identifier: BSD-3-Clause
"""The potential-energy model: E = Σ E_i, and its derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.descriptors import Contraction
from deepmd_tf.environment import ModelInputs, PullBack
from deepmd_tf.model.atomic import AtomicModel, AtomicOutputs, Statistics
from deepmd_tf.nn.parameters import Parameters

__all__ = ["Adjoints", "EnergyModel", "ModelOutputs", "Statistics"]


@dataclass(frozen=True)
class Adjoints:
    """Derivatives of the energy by what lies between it and the coordinates.

    One pass back through the nets gives all of them. What is built on them shares that pass, and
    so does its derivative with respect to the weights.

    Attributes
    ----------
    descriptor
        By the descriptors, [n_frames * n_loc, dim].
    moments
        By the moments that the descriptor is a function of, in their shapes; empty where it has
        none (:class:`~deepmd_tf.descriptors.Features`).
    """

    descriptor: tf.Tensor
    moments: tuple[tf.Tensor, ...] = ()


@dataclass(frozen=True)
class ModelOutputs:
    """Tensors of a built model, named as in frozen files.

    Attributes
    ----------
    energy
        float64 [n_frames], eV.
    force
        [n_frames, 3 n_all], eV/Å.
    virial
        [n_frames, 9], eV; -dE/dε.
    atom_energy
        [n_frames, n_loc], eV.
    atom_virial
        [n_frames, 9 n_all], eV.
    descriptor
        [n_frames, n_loc, dim].
    inputs
        Placeholders that the graph was built on.
    diagnostics
        See :class:`~deepmd_tf.environment.Environment`.
    inputs, atoms
        What they were built from: inputs, and energies of atoms with all that leads to them.
    adjoints
        Derivatives of the energy that all others go through.
    hessian, directions
        Second derivatives, eV/Å², where they were added: whole matrices [n_frames, 3 n,
        3 n], or their products [n_frames, k, 3 n] with directions [n_frames, k, 3 n].
    """

    energy: tf.Tensor
    force: tf.Tensor
    virial: tf.Tensor
    atom_energy: tf.Tensor
    atom_virial: tf.Tensor
    descriptor: tf.Tensor
    diagnostics: dict[str, tf.Tensor]
    inputs: ModelInputs
    atoms: AtomicOutputs
    adjoints: Adjoints
    hessian: tf.Tensor | None = None
    directions: tf.Tensor | None = None

    @property
    def natoms(self) -> tf.Tensor:
        """int32, number of atoms of a frame."""
        return self.inputs.n_loc


class EnergyModel(AtomicModel):
    """Energy of a frame, the sum of those of its atoms, with forces and virials."""

    def build(
        self,
        inputs: ModelInputs,
        parameters: Parameters,
        dialect: str = "native",
        statistics: Statistics | None = None,
        built: Sequence[Contraction] = (),
        *,
        tells_close: bool = True,
    ) -> ModelOutputs:
        """Build the graph of energies, forces and virials; arguments as those of
        :meth:`AtomicModel.build_atoms`.
        """
        atoms = self.build_atoms(
            inputs, parameters, dialect, statistics, built, tells_close=tells_close
        )
        features, atom_energy = atoms.features, atoms.values
        environments = [part.environment for part in atoms.contractions]
        rows = [environment.rows for environment in environments]
        n_types, n_rows = len(features.by_type), len(rows)
        # where all neighbours are excluded, nothing depends on the rows
        found = tf.gradients(
            tf.reduce_sum(atom_energy),
            [*features.by_type, *rows, *features.moments],
            unconnected_gradients="zero",
        )
        by_type, by_rows, by_moments = (
            # nothing depends on atoms whose net is at rest, as there are none
            [
                tf.zeros_like(values) if gradient is None else gradient
                for gradient, values in zip(found, features.by_type, strict=False)
            ],
            found[n_types : n_types + n_rows],
            found[n_types + n_rows :],
        )
        dim = self.descriptor.dim_out
        by_descriptor = tf.reshape(inputs.join_types(by_type), [-1, dim])
        adjoints = Adjoints(by_descriptor, tuple(by_moments))
        parts = [e.pull_back(gradient) for e, gradient in zip(environments, by_rows, strict=True)]
        if atoms.blend is not None:
            parts.append(atoms.blend.pull_back())
        pull_back = self.on_coordinates(inputs, PullBack.sum(parts))
        descriptor = atoms.descriptor(inputs)
        return named_outputs(self.scope, atoms, adjoints, pull_back, descriptor, inputs)

    def on_coordinates(self, inputs: ModelInputs, found: PullBack) -> PullBack:
        """Derivatives by what moves, from those by the coordinates of each atom by itself."""
        return found


def named_outputs(
    scope: str,
    atoms: AtomicOutputs,
    adjoints: Adjoints,
    pull_back: PullBack,
    descriptor: tf.Tensor,
    inputs: ModelInputs,
) -> ModelOutputs:
    """The tensors of a model under their names, to which ``scope`` is appended."""
    energy = tf.reduce_sum(tf.cast(atoms.values, tf.float64), axis=1)
    found = {
        "energy": (energy, names.O_ENERGY),
        "force": (pull_back.force, names.O_FORCE),
        "virial": (pull_back.virial, names.O_VIRIAL),
        "atom_energy": (atoms.values, names.O_ATOM_ENERGY),
        "atom_virial": (pull_back.atom_virial, names.O_ATOM_VIRIAL),
        "descriptor": (descriptor, names.O_DESCRIPTOR),
    }
    return ModelOutputs(
        **{k: tf.identity(v, name=names.suffixed(name, scope)) for k, (v, name) in found.items()},
        diagnostics=atoms.diagnostics(),
        inputs=inputs,
        atoms=atoms,
        adjoints=adjoints,
    )
