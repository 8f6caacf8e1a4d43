# SPDX-License-Identifier: BSD-3-Clause
"""Second derivatives of the energy by the coordinates, H = ∂²E/∂r∂r, in eV/Å².

Nested ``tf.gradients`` over the native operations, which are closed under differentiation. The
periodic images of an atom move with it. Rows and columns are (atom, xyz) of the local atoms as the
graph has them, sorted by type.
"""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from deepmd_tf import ops
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
    moment = model.descriptor.build_moment(outputs.environment.at(repeated), parameters)
    atom_energy = model.fitting.build(model.descriptor.contract(moment), repeated, parameters)
    (gradient,) = tf.gradients(tf.reduce_sum(atom_energy), [repeated.coord])
    along = tf.reshape(directions, tf.shape(gradient))
    (product,) = tf.gradients(gradient, [repeated.coord], grad_ys=[along])
    return tf.reshape(product, tf.shape(directions))


def full_hessian(model: EnergyModel, outputs: ModelOutputs, parameters: Parameters) -> tf.Tensor:
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
    (:meth:`~deepmd_tf.fitting.EnergyFitting.curvature`). Memory grows as n².

    Parameters
    ----------
    model, outputs
        A model that was built in the native dialect, and what :meth:`EnergyModel.build` gave.
    parameters
        Of that build.
    """
    inputs, environment, moment = outputs.inputs, outputs.environment, outputs.moment
    natoms, n_frames = inputs.n_loc, tf.shape(inputs.coord)[0]
    n_rows = 3 * n_frames * natoms**2
    shape = [n_frames, 3 * natoms, 3 * natoms]
    width = moment.shape.as_list()[-1]

    # each pair along x, y, z
    center, neighbor = environment.pairs.center, environment.pairs.neighbor
    displacement = tf.repeat(environment.displacement, 3, axis=0)
    added = model.descriptor.build_pair_moments(environment, displacement, parameters)
    adjoint = tf.repeat(tf.gather(outputs.adjoints.moment, center), 3, axis=0)
    (pulled,) = tf.gradients(added, [displacement], grad_ys=[adjoint])
    unit = tf.tile(tf.eye(3, dtype=inputs.dtype), [tf.size(center), 1])
    # linear in the adjoint, so its derivative by it is that of the moments
    curved, tangents = tf.gradients(pulled, [displacement, adjoint], grad_ys=[unit])

    def scatter(values: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
        """Sum of values [3 n_pairs, k] in [3 n_frames natoms², k]: by direction, (atom, xyz), and
        within it by atom ``place``; moving the centre has the opposite effect."""
        center_row, neighbor_row = (
            tf.reshape((3 * atom[:, None] + tf.range(3)) * natoms + place[:, None] % natoms, [-1])
            for atom in (center, neighbor)
        )
        return ops.scatter_pairs(values, center_row, neighbor_row, n_rows)

    geometry = scatter(curved, neighbor) - scatter(curved, center)
    tangents = scatter(tf.reshape(tangents, [-1, 4 * width]), center)
    tangents = tf.reshape(tangents, [n_frames, 3 * natoms, natoms, 4, width])
    net = model.fitting.curvature(
        outputs.adjoints.hidden,
        [
            model.descriptor.contract_tangents(part, along)
            for part, along in zip(
                inputs.split_types(tf.reshape(moment, [n_frames, natoms, 4, width])),
                inputs.split_types(tangents, axis=2),
                strict=True,
            )
        ],
    )
    contraction = model.descriptor.curvature(outputs.adjoints.descriptor, tangents)
    parts = (tf.reshape(geometry, shape), contraction, net)
    return sum(tf.cast(part, inputs.dtype) for part in parts)
