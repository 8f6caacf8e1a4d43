# SPDX-License-Identifier: BSD-3-Clause
"""The potential-energy model: E = Σ E_i, and its derivatives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.config import ModelConfig
from deepmd_tf.descriptors import SeE2A
from deepmd_tf.environment import Environment, ModelInputs, make_environment
from deepmd_tf.fitting import FittingOutput, make_fitting
from deepmd_tf.nn.parameters import Parameters, Value
from deepmd_tf.nn.spline import SplineOptions
from deepmd_tf.nn.table import EmbeddingTable

TABLE_REACH = 0.5
"""The embedding table of a finished model reaches down to this fraction of the smallest distance in
the training data: simulations go where the data did not."""
TRAINING_REACH = 0.8
"""The same during training, where a shorter table saves time. Validation data may come closer."""
UNKNOWN_DISTANCE = 0.6
"""Å, taken for the smallest distance of training data when it was not measured."""
USUAL_NODES = 128
"""Nodes of a table, for the estimate whether it pays."""


@dataclass(frozen=True)
class Statistics:
    """What a new model takes from its training data.

    Attributes
    ----------
    avg, std
        [ntypes, 4], of the environment rows, 1/Å.
    bias
        [ntypes], eV, energy of an atom of each type.
    parameters
        Mean and inverse standard deviation of frame and atomic parameters, by node name.
    """

    avg: np.ndarray
    std: np.ndarray
    bias: np.ndarray
    parameters: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Adjoints:
    """Derivatives of the energy by what lies between it and the coordinates.

    One pass back through the nets gives all of them. What is built on them shares that pass, and
    so does its derivative by the weights.

    Attributes
    ----------
    moment
        By the moments, [n_frames * n_loc, 4, M1].
    descriptor
        By the descriptors, [n_frames * n_loc, dim].
    """

    moment: tf.Tensor
    descriptor: tf.Tensor


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
    diagnostics
        See :class:`~deepmd_tf.environment.Environment`.
    table
        The embedding table, where the dialect has one.
    inputs, environment, moment
        What they were built from: inputs, environment, and its moments [n_frames * n_loc, 4, M1].
    adjoints
        Derivatives of the energy that all others go through.
    fitted
        Atomic energies with the passes through the fitting nets.
    hessian, directions
        Second derivatives, eV/Å², where somebody has added them: whole matrices [n_frames, 3 n,
        3 n], or their products [n_frames, k, 3 n] with directions [n_frames, k, 3 n].
    """

    energy: tf.Tensor
    force: tf.Tensor
    virial: tf.Tensor
    atom_energy: tf.Tensor
    atom_virial: tf.Tensor
    descriptor: tf.Tensor
    diagnostics: dict[str, tf.Tensor] = field(default_factory=dict)
    table: EmbeddingTable | None = None
    inputs: ModelInputs | None = None
    environment: Environment | None = None
    moment: tf.Tensor | None = None
    adjoints: Adjoints | None = None
    fitted: FittingOutput | None = None
    hessian: tf.Tensor | None = None
    directions: tf.Tensor | None = None


class EnergyModel:
    """Descriptor and fitting net of an input script.

    Parameters
    ----------
    config
        The ``model`` section, with ``sel`` resolved to numbers.
    original_sel
        ``sel`` of the first training, when it was another one.
    min_nbor_dist
        Smallest distance in the training data, Å; None when it was not measured.
    expected_pairs
        Pairs of neighbours in a typical evaluation. When the embedding tables would have more nodes
        than that, the nets are evaluated at the pairs themselves. None: not known, tables are used.
    use_table
        Whether there may be tables at all.
    splines
        In the stock dialect, tables in place of the embedding nets: a compressed model.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        original_sel: tuple[int, ...] | None = None,
        min_nbor_dist: float | None = None,
        expected_pairs: float | None = None,
        use_table: bool = True,
        splines: SplineOptions | None = None,
    ) -> None:
        self.config = config
        self.descriptor = SeE2A(config.descriptor, original_sel)
        self.ntypes = self.descriptor.cutoff.ntypes
        self.fitting = make_fitting(config.fitting_net, self.ntypes)
        self.min_nbor_dist = min_nbor_dist
        self.expected_pairs = expected_pairs
        self.use_table = use_table
        self.splines = splines

    def make_inputs(self, dtype: tf.DType, *, mixed: bool = False) -> ModelInputs:
        """Placeholders of what the model takes, coordinates and cell in ``dtype``; of frames that
        are ``mixed`` or all of the same atoms.
        """
        fitting = self.config.fitting_net
        return ModelInputs.make_placeholders(
            self.ntypes,
            dtype,
            dim_fparam=fitting.numb_fparam,
            dim_aparam=fitting.numb_aparam,
            mixed=mixed,
        )

    def build(
        self,
        inputs: ModelInputs,
        parameters: Parameters,
        dialect: str = "native",
        statistics: Statistics | None = None,
    ) -> ModelOutputs:
        """Build the graph of energies, forces and virials.

        Parameters
        ----------
        inputs
            Inputs of the graph.
        parameters
            Source of weights, averages and biases.
        dialect
            One of :data:`deepmd_tf.environment.DIALECTS`.
        statistics
            First values of averages and biases when ``parameters`` makes new variables.
        """
        environment = self._environment(inputs, parameters, dialect, statistics)
        moment, rows = self.build_descriptors(environment, parameters)
        first = None
        if statistics is not None:
            first = {names.BIAS_ATOM_E: statistics.bias, **statistics.parameters}
        fitted = self.fitting.build(rows, inputs, parameters, first, environment.native)
        atom_energy = fitted.values
        by_moment, *by_rows = tf.gradients(tf.reduce_sum(atom_energy), [moment, *rows])
        dim = self.descriptor.dim_out
        adjoints = Adjoints(by_moment, tf.reshape(inputs.join_types(by_rows), [-1, dim]))
        pull_back = environment.pull_back(moment, adjoints.moment)
        energy = tf.reduce_sum(tf.cast(atom_energy, tf.float64), axis=1)
        descriptor = tf.cast(inputs.join_types(rows), inputs.dtype)
        return ModelOutputs(
            energy=tf.identity(energy, name=names.O_ENERGY),
            force=tf.identity(pull_back.force, name=names.O_FORCE),
            virial=tf.identity(pull_back.virial, name=names.O_VIRIAL),
            atom_energy=tf.identity(atom_energy, name=names.O_ATOM_ENERGY),
            atom_virial=tf.identity(pull_back.atom_virial, name=names.O_ATOM_VIRIAL),
            descriptor=tf.identity(descriptor, name=names.O_DESCRIPTOR),
            diagnostics=environment.diagnostics,
            table=environment.table,
            inputs=inputs,
            environment=environment,
            moment=moment,
            adjoints=adjoints,
            fitted=fitted,
        )

    def build_descriptors(
        self, environment: Environment, parameters: Parameters
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Moments of all local atoms, [n_frames * n_loc, 4, M1], and the descriptors of the atoms
        of each type as :meth:`ModelInputs.split_types` cuts them, [n_frames, n, dim].
        """
        moment = self.descriptor.build_moment(environment, parameters)
        return moment, self.descriptor.contract(environment, moment)

    def _environment(
        self,
        inputs: ModelInputs,
        parameters: Parameters,
        dialect: str,
        statistics: Statistics | None,
    ) -> Environment:
        cutoff = self.descriptor.cutoff
        shape = (self.ntypes, 4 * cutoff.n_slots)
        tiled = {names.T_AVG: np.zeros(shape), names.T_STD: np.ones(shape)}
        if statistics is not None:
            tiled[names.T_AVG] = np.tile(statistics.avg, (1, cutoff.n_slots))
            tiled[names.T_STD] = np.tile(statistics.std, (1, cutoff.n_slots))
        avg, std = (
            parameters.get(name, shape, inputs.dtype, Value(first), trainable=False)
            for name, first in tiled.items()
        )
        if dialect == "stock":
            return make_environment(dialect, inputs, cutoff, avg, std, splines=self.splines)
        if dialect != "native":
            return make_environment(dialect, inputs, cutoff, avg, std)
        reach = self._table_reach(TRAINING_REACH if parameters.trained else TABLE_REACH)
        return make_environment(dialect, inputs, cutoff, avg, std, smallest_distance=reach)

    def _table_reach(self, fraction: float) -> float | None:
        """Smallest distance of the embedding table, Å, or None when the nets are evaluated at the
        pairs.
        """
        if not self.use_table:
            return None
        n_tables = len(self.descriptor.make_nets().keys)
        if self.expected_pairs is not None and n_tables * USUAL_NODES > self.expected_pairs:
            return None
        return fraction * (self.min_nbor_dist or UNKNOWN_DISTANCE)
