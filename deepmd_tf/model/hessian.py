# SPDX-License-Identifier: BSD-3-Clause
"""Second derivatives of the energy with respect to the coordinates, H = ∂²E/∂r∂r, in eV/Å².

Nested ``tf.gradients`` over the native operations, which are closed under differentiation. The
periodic images of an atom move with it. Rows and columns are (atom, xyz) of the local atoms as the
graph has them, sorted by type.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import tensorflow.compat.v1 as tf

from deepmd_tf import ops
from deepmd_tf.descriptors import Descriptor, FlatContraction, SecondOrder
from deepmd_tf.environment import AtomRange, ModelInputs
from deepmd_tf.errors import InputError
from deepmd_tf.model.energy import EnergyModel, ModelOutputs
from deepmd_tf.model.hessian_blend import BlendCurvature
from deepmd_tf.nn.parameters import Parameters


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
    (gradient,) = tf.gradients(outputs.force, [outputs.inputs.coord], grad_ys=[-directions])
    return gradient


def hessian_vector_products(
    model: EnergyModel, outputs: ModelOutputs, parameters: Parameters, directions: tf.Tensor
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
        raise InputError(
            f'the descriptor "{descriptor.config.type}" has no second derivatives, which '
            'whole Hessians need; train with loss/hessian_mode "probe:<k>" or "columns:<k>", and '
            "freeze without --hessian: DeepPot computes Hessians from products with vectors"
        )
    return second


def full_hessian(
    model: EnergyModel,
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
    D is those of each side by side, and the first two terms are sums over them.

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
    seconds = require_second_order(model.descriptor)
    inputs, found = outputs.inputs, []
    blend = None
    if model.short_range is not None:
        blend = BlendCurvature(outputs, parameters, model.short_range)
    adjoints = tf.split(outputs.adjoints.descriptor, [s.dim_out for s in seconds], axis=-1)
    terms = []
    for k, (second, adjoint) in enumerate(zip(seconds, adjoints, strict=True)):
        moments = _Moments.build(second, k, outputs, parameters, atoms, blend)
        terms.append(moments.geometry + tf.cast(moments.bent(second, adjoint), inputs.dtype))
        found.append(moments)
    dtype = outputs.adjoints.descriptor.dtype
    tangents = [m.tangents(second) for m, second in zip(found, seconds, strict=True)]
    features = [
        tf.concat([tf.cast(part, dtype) for part in parts], axis=-1)
        for parts in zip(*tangents, strict=True)
    ]
    if blend is not None:
        # the second derivative of (1 − λ) N by the features is quadratic in the tangents
        shares = tf.sqrt(_chosen(tf.reshape(blend.share_of_nets, [-1]), inputs, atoms))
        features = [
            along * tf.cast(share, along.dtype)[:, None, :, None]
            for along, share in zip(features, inputs.split_tangents(shares, 1, atoms), strict=True)
        ]
        of_sums = next(m.of_blend for m in found if m.of_blend is not None)
        along_moments = [m.along for m in found]
        mixed = blend.products(of_sums, along_moments, lambda v: _chosen(v, inputs, atoms))
        terms.append(tf.cast(mixed, inputs.dtype))
    net = outputs.atoms.fitted.curvature(
        features, None if atoms is None else inputs.within_types(atoms)
    )
    return functools.reduce(tf.add, [*terms, tf.cast(net, inputs.dtype)])


def hessian_part(
    model: EnergyModel, outputs: ModelOutputs, parameters: Parameters, atoms: AtomRange
) -> tf.Tensor:
    """A part of H of one frame, [1, 3 n, 3 n]; those of consecutive ranges of atoms add up to H.

    Second derivatives of the energies of ``atoms``, see :func:`full_hessian`; or, where the
    descriptor has none of its own, the rows of H that belong to ``atoms``, from products.
    Arguments are those of :func:`full_hessian`.
    """
    if model.descriptor.second_order():
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
        [n_frames, 3 n_loc, 3 n_loc], Σ ∂E/∂A_i · ∂_a ∂_b A_p; and the same of the sums of a
        mixture with a table, in its environment.
    of_blend
        [n_frames, 3 n_loc, n, 3], derivatives of these sums; None in other environments.
    """

    inputs: ModelInputs
    atoms: AtomRange | None
    moment: tf.Tensor
    along: tf.Tensor
    geometry: tf.Tensor
    of_blend: tf.Tensor | None

    @classmethod
    def build(
        cls,
        second: SecondOrder,
        k: int,
        outputs: ModelOutputs,
        parameters: Parameters,
        atoms: AtomRange | None,
        blend: BlendCurvature | None,
    ) -> _Moments:
        """Those of environment ``k``."""
        inputs, moment = outputs.inputs, outputs.atoms.features.moments[k]
        n, n_frames = inputs.n_loc, tf.shape(inputs.coord)[0]
        shape = moment.shape.as_list()[1:]
        begin, count = (0, n) if atoms is None else (atoms.begin, atoms.end - atoms.begin)
        pairs = _pairs_of(second, k, outputs, parameters, atoms, blend)
        center, neighbor = pairs.center % n, pairs.neighbor % n
        geometry = pairs.scatter(pairs.curved, neighbor, n) - pairs.scatter(pairs.curved, center, n)

        def by_atom(tangents: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
            """Sums over the pairs of each atom, [n_frames, 3 n, count, ...]."""
            flat = tf.reshape(tangents, [-1, math.prod(shape)])
            flat = pairs.scatter(flat, center - begin, count)
            return tf.reshape(flat, [n_frames, 3 * n, count, *shape])

        return cls(
            inputs,
            atoms,
            _chosen(moment, inputs, atoms),
            by_atom(pairs.tangents, shape),
            tf.reshape(geometry, [n_frames, 3 * n, 3 * n]),
            None if pairs.of_blend is None else by_atom(pairs.of_blend, [3]),
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
        adjoint = tf.cast(_chosen(adjoint, self.inputs, self.atoms), self.along.dtype)
        return second.curvature(adjoint, self.along)


def _chosen(values: tf.Tensor, inputs: ModelInputs, atoms: AtomRange | None) -> tf.Tensor:
    """[n_frames, n, ...] of ``atoms`` from [n_frames * n_loc, ...]."""
    shape = [tf.shape(inputs.coord)[0], inputs.n_loc, *values.shape.as_list()[1:]]
    values = tf.reshape(values, shape)
    return values if atoms is None else values[:, atoms.begin : atoms.end]


class _Pairs(NamedTuple):
    """Pairs, moved along x, y and z: the neighbour against the centre.

    Attributes
    ----------
    center, neighbor
        int32 [n_pairs], rows in [n_frames * n].
    curved
        [3 n_pairs, 3], second derivatives of ⟨∂E/∂A_i, A_p⟩ along the three directions.
    tangents
        [3 n_pairs, …], derivatives of A_p along them.
    n_atoms
        int32, n_frames * n.
    of_blend
        [3 n_pairs, 3], derivatives of the terms of the sums that a mixture with a table is a
        function of; ``curved`` then has the second derivatives of these, too.
    """

    center: tf.Tensor
    neighbor: tf.Tensor
    curved: tf.Tensor
    tangents: tf.Tensor
    n_atoms: tf.Tensor
    of_blend: tf.Tensor | None = None

    def scatter(self, values: tf.Tensor, place: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        """Sum of values [3 n_pairs, k] in [n_atoms * 3 * size, k], by direction (atom, xyz) and a
        further place; moving the centre is the opposite of moving the neighbour."""
        center_row, neighbor_row = (
            tf.reshape((3 * atom[:, None] + tf.range(3)) * size + place[:, None], [-1])
            for atom in (self.center, self.neighbor)
        )
        return ops.scatter_pairs(values, center_row, neighbor_row, 3 * self.n_atoms * size)


def _pairs_of(
    second: SecondOrder,
    k: int,
    outputs: ModelOutputs,
    parameters: Parameters,
    atoms: AtomRange | None,
    blend: BlendCurvature | None,
) -> _Pairs:
    """Derivatives at the pairs of all centres, or of ``atoms``, in environment ``k``."""
    inputs, contraction = outputs.inputs, cast(FlatContraction, outputs.atoms.contractions[k])
    environment = contraction.environment
    pairs = slice(None) if atoms is None else environment.pairs_of(atoms)
    center, neighbor = environment.pairs.center[pairs], environment.pairs.neighbor[pairs]
    displacement = tf.repeat(environment.displacement[pairs], 3, axis=0)
    unit = tf.tile(tf.eye(3, dtype=inputs.dtype), [tf.size(center), 1])

    def derivatives(added: tf.Tensor, adjoint: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        (pulled,) = tf.gradients(added, [displacement], grad_ys=[adjoint])
        # linear in the adjoint, so its derivative by it is that of what is added
        curved, tangents = tf.gradients(pulled, [displacement, adjoint], grad_ys=[unit])
        return curved, tangents

    added = second.pair_moments(contraction, displacement, parameters, pairs, 3)
    adjoint = tf.repeat(tf.gather(outputs.adjoints.moments[k], center), 3, axis=0)
    curved, tangents = derivatives(added, adjoint)
    of_blend = None
    if blend is not None and blend.environment == k:
        bent, of_blend = derivatives(*blend.at_pairs(displacement, pairs))
        curved += bent
    n_atoms = tf.shape(inputs.coord)[0] * inputs.n_loc
    return _Pairs(center, neighbor, curved, tangents, n_atoms, of_blend)
