# SPDX-License-Identifier: BSD-3-Clause
"""Second derivatives of the energy by the coordinates, H = ∂²E/∂r∂r, in eV/Å².

Nested ``tf.gradients`` over the native operations, which are closed under differentiation. The
periodic images of an atom move with it. Rows and columns are (atom, xyz) of the local atoms as the
graph has them, sorted by type.
"""

from __future__ import annotations

import tensorflow.compat.v1 as tf

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
    descriptor = model.descriptor.build(outputs.environment.at(repeated), parameters)
    atom_energy = model.fitting.build(descriptor, repeated, parameters)
    (gradient,) = tf.gradients(tf.reduce_sum(atom_energy), [repeated.coord])
    along = tf.reshape(directions, tf.shape(gradient))
    (product,) = tf.gradients(gradient, [repeated.coord], grad_ys=[along])
    return tf.reshape(product, tf.shape(directions))


def full_hessian(model: EnergyModel, outputs: ModelOutputs, parameters: Parameters) -> tf.Tensor:
    r"""H of each frame: [n_frames, 3 n, 3 n], eV/Å², symmetric up to rounding.

    With descriptors D and g = ∂E/∂D

    .. math:: H_{ab} = \sum_i g_i \cdot ∂_a ∂_b D_i + \sum_i ∂_a D_i^T \, E''_i \, ∂_b D_i .

    Descriptors are built again, once for each of the 3n directions, but the fitting net is not: its
    second derivative needs one pass of the ∂_a D through the layers
    (:meth:`~deepmd_tf.fitting.EnergyFitting.curvature`). For training on whole matrices of small
    systems that takes a third of the time of :func:`hessian_vector_product` and its derivatives.
    Memory grows as n², about 0.1 MB n² for M1 M2 = 1600 in float64.

    Parameters
    ----------
    model, outputs
        A model that was built in the native dialect, and what :meth:`EnergyModel.build` gave.
    parameters
        Of that build.
    """
    inputs = outputs.inputs
    n_directions = 3 * inputs.n_loc
    n_frames = tf.shape(inputs.coord)[0]
    repeated = inputs.repeat(n_directions)
    descriptor = model.descriptor.build(outputs.environment.at(repeated), parameters)
    (adjoint,) = tf.gradients(tf.reduce_sum(outputs.atom_energy), [outputs.rows])
    dim = outputs.rows.shape.as_list()[-1]
    adjoint = tf.reshape(adjoint, [n_frames, inputs.n_loc * dim])
    adjoint = tf.reshape(tf.repeat(adjoint, n_directions, axis=0), [-1, dim])
    (pulled,) = tf.gradients(descriptor, [repeated.coord], grad_ys=[adjoint])
    unit = tf.tile(tf.eye(n_directions, dtype=inputs.dtype), [n_frames, 1])
    # linear in the adjoint, so its derivative by it is that of the descriptors
    geometry, tangents = tf.gradients(pulled, [repeated.coord, adjoint], grad_ys=[unit])
    curvature = model.fitting.curvature(outputs.atom_energy, tangents, inputs)
    shape = [n_frames, n_directions, n_directions]
    return tf.reshape(geometry, shape) + tf.cast(curvature, inputs.dtype)
