# SPDX-License-Identifier: BSD-3-Clause
"""Second derivatives of the energy with respect to the coordinates, H = ∂²E/∂r∂r, in eV/Å².

Nested ``tf.gradients`` over the native operations, which are closed under differentiation. The
periodic images of an atom move with it. Rows and columns are (atom, xyz) of the local atoms as the
graph has them, sorted by type.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple, cast

import tensorflow.compat.v1 as tf

from deepmd_tf.descriptors import Descriptor, FlatContraction, Hybrid, SecondOrder
from deepmd_tf.environment import AtomRange, ModelInputs
from deepmd_tf.errors import InputError
from deepmd_tf.model.base import Model
from deepmd_tf.model.composite import PairTableModel
from deepmd_tf.model.energy import EnergyModel, ModelOutputs
from deepmd_tf.model.hessian_blend import BlendCurvature, pair_hessian
from deepmd_tf.model.hessian_pairs import PairDerivatives, chosen_atoms
from deepmd_tf.model.linear import LinearEnergyModel, SumOutputs
from deepmd_tf.model.pairwise import PairwiseModel
from deepmd_tf.nn.parameters import ModelParameters, Parameters


def hessian_vector_product(outputs: ModelOutputs, directions: tf.Tensor) -> tf.Tensor:
    """H v of each frame, one direction for a frame: [n_frames, 3 n], eV/Å² times the unit of v.

    For several directions of a frame, give the frame as often. The graph must hold no ghosts.

    Parameters
    ----------
    outputs
        Of a model that was built in the native or the reference dialect.
    directions
        v, [n_frames, 3 n] in any shape.
    """
    directions = tf.reshape(directions, tf.shape(outputs.force))
    inputs = outputs.inputs
    (gradient,) = tf.gradients(outputs.force, [inputs.coord], grad_ys=[-directions])
    return gradient if inputs.spins is None else inputs.spins.on_spins(inputs, gradient)


def hessian_vector_products(
    model: Model, outputs: ModelOutputs, parameters: Parameters, directions: tf.Tensor
) -> tf.Tensor:
    """H v for several directions of each frame: [n_frames, k, 3 n].

    The model is built again on k copies of each frame.

    Parameters
    ----------
    model, outputs, parameters
        As for :func:`full_hessian`.
    directions
        v, [n_frames, k, 3 n].
    """
    repeated = outputs.inputs.repeat(tf.shape(directions)[1])
    atoms = model.build_atoms_at(outputs.atoms.contractions, repeated, parameters)
    (gradient,) = tf.gradients(tf.reduce_sum(atoms.values), [repeated.coord])
    along = tf.reshape(directions, tf.shape(gradient))
    (product,) = tf.gradients(gradient, [repeated.coord], grad_ys=[along])
    return tf.reshape(product, tf.shape(directions))


def require_second_order(descriptor: Descriptor) -> list[SecondOrder]:
    """The second derivatives of a descriptor, for each environment.

    Raises
    ------
    InputError
        When it has none.
    """
    second = descriptor.second_order()
    if not second:
        members = descriptor.members if isinstance(descriptor, Hybrid) else [descriptor]
        lacking = next(m for m in members if not m.second_order())
        instead = 'train with loss/hessian_mode "probe:<k>" or "columns:<k>", and '
        raise InputError(
            f'the descriptor "{lacking.config.type}" has no second derivatives, which whole '
            f"Hessians need; {instead if descriptor.trains_on_hessians else ''}freeze without "
            "--hessian: DeepPot computes Hessians from products with vectors"
        )
    return second


def full_hessian(
    model: Model | PairTableModel,
    outputs: ModelOutputs,
    parameters: Parameters,
    atoms: AtomRange | None = None,
) -> tf.Tensor:
    r"""H of each frame: [n_frames, 3 n, 3 n], eV/Å², symmetric up to rounding.

    The energy depends on the coordinates through the moments :math:`A_i = \sum_p A_p` of the atoms,
    to which each pair adds a function of its displacement alone; D are the descriptors, whose own
    second derivatives are a :class:`~deepmd_tf.descriptors.SecondOrder`:

    .. math::

        H_{ab} = \sum_p \frac{∂E}{∂A_i} \cdot ∂_a ∂_b A_p
            + \sum_i \frac{∂E}{∂D_i} \cdot \frac{∂^2 D_i}{∂A_i^2} \, ∂_a A_i \, ∂_b A_i
            + \sum_i ∂_a D_i^T \, E''_i \, ∂_b D_i .

    So derivatives with respect to coordinates are taken at the pairs, three directions for each,
    and not in copies of the frame for each of the 3n directions; and the second derivative of the
    fitting net needs one pass of the ∂_a D through its layers
    (:meth:`~deepmd_tf.fitting.FittingOutput.curvature`). Of a descriptor with several environments
    D is those of each side by side, and the first two terms are sums over them. What a table of
    pair potentials adds is in :mod:`deepmd_tf.model.hessian_blend`.

    Memory grows as n² for each frame; see ``atoms``.

    Parameters
    ----------
    model, outputs
        A model that was built in the native dialect, and what :meth:`EnergyModel.build` gave.
    parameters
        Of that build.
    atoms
        Second derivatives of the energies of these atoms only, with respect to all coordinates, in
        a graph that is given one frame. H is the sum over all atoms, so that consecutive ranges of
        atoms bound memory.

    Raises
    ------
    InputError
        When the descriptor has no second derivatives of its own.
    """
    if isinstance(model, LinearEnergyModel):
        return _weighted_hessian(full_hessian, model, outputs, parameters, atoms)
    if isinstance(model, PairTableModel):
        return pair_hessian(model, outputs, parameters, atoms)
    if isinstance(model, PairwiseModel):
        raise InputError(
            "a model of fragments (pairwise_dprc) has no second derivatives of its own, which "
            "whole Hessians need; freeze without --hessian: DeepPot computes Hessians from "
            "products with vectors"
        )
    return _hessian_of_nets(cast(EnergyModel, model), outputs, parameters, atoms)


def _weighted_hessian(
    hessian_of: Callable[..., tf.Tensor],
    model: LinearEnergyModel,
    outputs: ModelOutputs,
    parameters: Parameters,
    atoms: AtomRange | None,
) -> tf.Tensor:
    """Of a weighted sum of models."""
    parts = cast(SumOutputs, outputs).parts
    terms = [
        factor * hessian_of(member, part, ModelParameters.of(parameters, member.scope), atoms)
        for factor, member, part in zip(model.factors, model.members, parts, strict=True)
    ]
    return functools.reduce(tf.add, terms)


def _hessian_of_nets(
    model: EnergyModel, outputs: ModelOutputs, parameters: Parameters, atoms: AtomRange | None
) -> tf.Tensor:
    seconds = require_second_order(model.descriptor)
    inputs, terms, tangents = outputs.inputs, [], []
    adjoints = tf.split(outputs.adjoints.descriptor, [s.dim_out for s in seconds], axis=-1)
    for k, (second, adjoint) in enumerate(zip(seconds, adjoints, strict=True)):
        moments = _Moments.build(second, k, outputs, parameters, atoms)
        terms.append(moments.geometry + tf.cast(moments.bent(second, adjoint), inputs.dtype))
        tangents.append(moments.tangents(second))
    dtype = outputs.adjoints.descriptor.dtype
    features = [
        tf.concat([tf.cast(part, dtype) for part in parts], axis=-1)
        for parts in zip(*tangents, strict=True)
    ]
    if model.short_range is not None:
        blend = BlendCurvature(model.short_range, outputs, parameters, atoms)
        terms.append(blend.matrix(features))
        features = blend.share_of_nets(features)
    net = outputs.atoms.fitted.curvature(
        features, None if atoms is None else inputs.within_types(atoms)
    )
    return functools.reduce(tf.add, [*terms, tf.cast(net, inputs.dtype)])


def hessian_part(
    model: Model | PairTableModel,
    outputs: ModelOutputs,
    parameters: Parameters,
    atoms: AtomRange,
) -> tf.Tensor:
    """A part of H of one frame, [1, 3 n, 3 n]; those of consecutive ranges of atoms add up to H.

    Second derivatives of the energies of ``atoms``, see :func:`full_hessian`; or, where the
    descriptor has none of its own, the rows of H that belong to ``atoms``, from products.
    Arguments are those of :func:`full_hessian`.
    """
    if isinstance(model, LinearEnergyModel):
        return _weighted_hessian(hessian_part, model, outputs, parameters, atoms)
    if isinstance(model, PairTableModel) or model.has_second_order:
        return full_hessian(model, outputs, parameters, atoms)
    n, begin, end = 3 * outputs.inputs.n_loc, 3 * atoms.begin, 3 * atoms.end
    directions = tf.eye(n, dtype=outputs.inputs.dtype)[None, begin:end]
    rows = hessian_vector_products(model, outputs, parameters, directions)
    return tf.pad(rows, [[0, 0], [begin, n - end], [0, 0]])


class _Moments(NamedTuple):
    """Moments of ``atoms`` in one environment, and their derivatives in the coordinates.

    Attributes
    ----------
    inputs, atoms
        Inputs of the graph, and whose moments they are; None: of all.
    moment
        [n_frames, n, …].
    along
        [n_frames, 3 n_loc, n, …], ∂_a A_i.
    geometry
        [n_frames, 3 n_loc, 3 n_loc], Σ ∂E/∂A_i · ∂_a ∂_b A_p.
    """

    inputs: ModelInputs
    atoms: AtomRange | None
    moment: tf.Tensor
    along: tf.Tensor
    geometry: tf.Tensor

    @classmethod
    def build(
        cls,
        second: SecondOrder,
        k: int,
        outputs: ModelOutputs,
        parameters: Parameters,
        atoms: AtomRange | None,
    ) -> _Moments:
        """Those of environment ``k``."""
        inputs, moment = outputs.inputs, outputs.atoms.features.moments[k]
        contraction = cast(FlatContraction, outputs.atoms.contractions[k])

        def terms(displacement: tf.Tensor, pairs: slice) -> tuple[tf.Tensor, tf.Tensor]:
            center = contraction.environment.pairs.center[pairs]
            added = second.pair_moments(contraction, displacement, parameters, pairs, 3)
            return added, tf.repeat(tf.gather(outputs.adjoints.moments[k], center), 3, axis=0)

        pairs = PairDerivatives.of(contraction.environment, atoms, terms)
        return cls(
            inputs,
            atoms,
            chosen_atoms(moment, inputs, atoms),
            pairs.by_atom(moment.shape.as_list()[1:]),
            pairs.geometry(),
        )

    def tangents(self, second: SecondOrder) -> list[tf.Tensor]:
        """∂_a D_i of the atoms of each type."""
        split = self.inputs.split_tangents
        parts = zip(
            split(self.moment, 1, self.atoms), split(self.along, 2, self.atoms), strict=True
        )
        return [second.tangents(moment, along) for moment, along in parts]

    def bent(self, second: SecondOrder, adjoint: tf.Tensor) -> tf.Tensor:
        """Σ ∂E/∂D_i · ∂²D_i/∂A_i² ∂_a A_i ∂_b A_i, from ``adjoint`` [n_frames * n_loc, dim_out]."""
        adjoint = tf.cast(chosen_atoms(adjoint, self.inputs, self.atoms), self.along.dtype)
        return second.curvature(adjoint, self.along)
