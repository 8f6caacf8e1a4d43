# SPDX-License-Identifier: BSD-3-Clause
"""Second derivatives of the energy by the coordinates, H = ∂²E/∂r∂r, in eV/Å².

Nested ``tf.gradients`` over the native operations, which are closed under differentiation. The
periodic images of an atom move with it. Rows and columns are (atom, xyz) of the local atoms as the
graph has them, sorted by type.
"""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from deepmd_tf import ops
from deepmd_tf.environment import AtomRange
from deepmd_tf.model.energy import EnergyModel, ModelOutputs
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
    environment = outputs.environment.at(repeated)
    _, rows = model.build_descriptors(environment, parameters)
    fitted = model.fitting.build(rows, repeated, parameters, native=environment.native)
    (gradient,) = tf.gradients(tf.reduce_sum(fitted.values), [repeated.coord])
    along = tf.reshape(directions, tf.shape(gradient))
    (product,) = tf.gradients(gradient, [repeated.coord], grad_ys=[along])
    return tf.reshape(product, tf.shape(directions))


def full_hessian(
    model: EnergyModel,
    outputs: ModelOutputs,
    parameters: Parameters,
    atoms: AtomRange | None = None,
) -> tf.Tensor:
    r"""H of each frame: [n_frames, 3 n, 3 n], eV/Å², symmetric up to rounding.

    The energy depends on the coordinates through the moments :math:`A_i = \sum_p A_p` of the atoms,
    to which each pair adds a function of its displacement alone; D are the descriptors:

    .. math::

        H_{ab} = \sum_p \frac{∂E}{∂A_i} \cdot ∂_a ∂_b A_p
            + \sum_i \frac{∂E}{∂D_i} \cdot \frac{∂^2 D_i}{∂A_i^2} \, ∂_a A_i \, ∂_b A_i
            + \sum_i ∂_a D_i^T \, E''_i \, ∂_b D_i .

    So derivatives by coordinates are taken at the pairs, three directions for each, and not in
    copies of the frame for each of the 3n directions; and the second derivative of the fitting net
    needs one pass of the ∂_a D through its layers
    (:meth:`~deepmd_tf.fitting.FittingOutput.curvature`).

    Memory grows as n² for each frame; see ``atoms``.

    Parameters
    ----------
    model, outputs
        A model that was built in the native dialect, and what :meth:`EnergyModel.build` gave.
    parameters
        Of that build.
    atoms
        Second derivatives of the energies of these atoms only, by all coordinates, in a graph that
        is given one frame. H is the sum over all atoms, so that ranges of atoms one after the other
        bound memory.
    """
    inputs, environment, descriptor = outputs.inputs, outputs.environment, model.descriptor
    natoms, n_frames = inputs.n_loc, tf.shape(inputs.coord)[0]
    width = outputs.moment.shape.as_list()[-1]

    def chosen(values: tf.Tensor) -> tf.Tensor:
        """[n_frames, n, ...] of ``atoms`` from [n_frames * n_loc, ...]."""
        values = tf.reshape(values, [n_frames, natoms, *values.shape.as_list()[1:]])
        return values if atoms is None else values[:, atoms.begin : atoms.end]

    begin, count = (0, natoms) if atoms is None else (atoms.begin, atoms.end - atoms.begin)
    pairs = slice(None) if atoms is None else environment.pairs_of(atoms)
    center, neighbor = environment.pairs.center[pairs], environment.pairs.neighbor[pairs]
    # each pair along x, y, z
    displacement = tf.repeat(environment.displacement[pairs], 3, axis=0)
    added = descriptor.build_pair_moments(environment, displacement, parameters, pairs, 3)
    adjoint = tf.repeat(tf.gather(outputs.adjoints.moment, center), 3, axis=0)
    (pulled,) = tf.gradients(added, [displacement], grad_ys=[adjoint])
    unit = tf.tile(tf.eye(3, dtype=inputs.dtype), [tf.size(center), 1])
    # linear in the adjoint, so its derivative by it is that of the moments
    curved, tangents = tf.gradients(pulled, [displacement, adjoint], grad_ys=[unit])

    def scatter(values: tf.Tensor, place: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        """Sum of values [3 n_pairs, k] in [n_frames * 3 n * size, k], by direction (atom, xyz) and
        a further place; moving the centre is the opposite of moving the neighbour."""
        center_row, neighbor_row = (
            tf.reshape((3 * atom[:, None] + tf.range(3)) * size + place[:, None], [-1])
            for atom in (center, neighbor)
        )
        return ops.scatter_pairs(values, center_row, neighbor_row, 3 * n_frames * natoms * size)

    geometry = scatter(curved, neighbor % natoms, natoms) - scatter(curved, center % natoms, natoms)
    tangents = scatter(tf.reshape(tangents, [-1, 4 * width]), center % natoms - begin, count)
    tangents = tf.reshape(tangents, [n_frames, 3 * natoms, count, 4, width])
    parts = zip(
        inputs.split_tangents(chosen(outputs.moment), 1, atoms),
        inputs.split_tangents(tangents, 2, atoms),
        strict=True,
    )
    net = outputs.fitted.curvature(
        [descriptor.contract_tangents(moment, along) for moment, along in parts],
        None if atoms is None else inputs.within_types(atoms),
    )
    contraction = descriptor.curvature(chosen(outputs.adjoints.descriptor), tangents)
    geometry = tf.reshape(geometry, [n_frames, 3 * natoms, 3 * natoms])
    return geometry + tf.cast(contraction, inputs.dtype) + tf.cast(net, inputs.dtype)
