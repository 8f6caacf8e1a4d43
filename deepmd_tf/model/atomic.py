# SPDX-License-Identifier: BSD-3-Clause
"""Energies of atoms: descriptor, fitting net and bias, without derivatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.config import ModelConfig
from deepmd_tf.descriptors import (
    Contraction,
    Features,
    TableOptions,
    build_layout,
    make_descriptor,
)
from deepmd_tf.environment import EnvironmentSpec, ModelInputs
from deepmd_tf.errors import InputError
from deepmd_tf.fitting import FittingOutput, make_fitting
from deepmd_tf.model.base import Model
from deepmd_tf.model.short_range import Blend, ShortRange
from deepmd_tf.nn.first_values import Value
from deepmd_tf.nn.parameters import Parameters
from deepmd_tf.nn.spline import FixedTable, SplineOptions
from deepmd_tf.nn.tables import EmbeddingTables
from deepmd_tf.nn.type_embedding import TypeEmbedding
from deepmd_tf.pair_table import Coefficients

TABLE_REACH = 0.5
"""The embedding table of a finished model reaches down to this fraction of the smallest distance in
the training data: simulations go where the data did not."""
TRAINING_REACH = 0.8
"""The same during training, where a shorter table saves time. Validation data may come closer."""
UNKNOWN_DISTANCE = 0.6
"""Å, taken for the smallest distance of training data when it was not measured."""
USUAL_NODES = 128
"""Nodes of a table, for the estimate whether it pays."""

Averages = np.ndarray | Mapping[str, np.ndarray]
"""[ntypes, components], or such an array for each of several environments, by its scope."""


@dataclass(frozen=True)
class Statistics:
    """Statistics of the training data that a new model is built with.

    Attributes
    ----------
    avg, std
        [ntypes, components], of the environment rows, 1/Å; by scope for a descriptor with several
        environments.
    bias
        [ntypes], eV, energy of an atom of each type.
    parameters
        Mean and inverse standard deviation of frame and atomic parameters, by node name.
    """

    avg: Averages
    std: Averages
    bias: np.ndarray
    parameters: Mapping[str, np.ndarray] = field(default_factory=dict)

    def of_rows(self, spec: EnvironmentSpec) -> tuple[np.ndarray, np.ndarray]:
        """avg and std of an environment, tiled over its slots."""
        avg, std = (v[spec.scope] if isinstance(v, Mapping) else v for v in (self.avg, self.std))
        return spec.tile(avg), spec.tile(std)


@dataclass(frozen=True)
class AtomicOutputs:
    """Values of atoms and what they were made of.

    Attributes
    ----------
    fitted
        Values of the fitting nets, such as energies [n_frames, n_loc], with the passes through
        them.
    features
        What the descriptor made of the rows.
    contractions
        The environments, with the sums over their neighbours.
    blend
        The mixture with a tabulated pair potential, of models that have one.
    """

    fitted: FittingOutput
    features: Features
    contractions: list[Contraction]
    blend: Blend | None = None

    @property
    def values(self) -> tf.Tensor:
        """The values of the model: those of the fitting nets, or the mixture."""
        return self.fitted.values if self.blend is None else self.blend.values

    @property
    def tables(self) -> EmbeddingTables | None:
        """The tables of nets, where the dialect has some."""
        found = [part.table for part in self.contractions]
        return EmbeddingTables.join([t for t in found if not isinstance(t, FixedTable)])

    def descriptor(self, inputs: ModelInputs) -> tf.Tensor:
        """Descriptors [n_frames, n_loc, dim] in the order of the atoms."""
        return tf.cast(inputs.join_types(self.features.by_type), inputs.dtype)

    def diagnostics(self) -> dict[str, tf.Tensor]:
        """Of one environment after the other (:class:`~deepmd_tf.environment.Environment`); pairs
        outside of tables of all together.
        """
        joined = dict(self.contractions[0].diagnostics)
        for part in self.contractions[1:]:
            for key, value in part.diagnostics.items():
                if key not in joined:
                    joined[key] = value
                elif key == "outside":
                    joined[key] += value
                else:
                    joined[key] = tf.concat([joined[key], value], axis=0)
        return joined


class AtomicModel(Model):
    """Descriptor and fitting net of an input script.

    Parameters
    ----------
    config
        The ``model`` section, with ``sel`` resolved to numbers.
    original_sel
        ``sel`` of the first training, by the scope of the environment, when it was another one.
    min_nbor_dist
        Smallest distance in the training data, Å; None when it was not measured.
    expected_pairs
        Pairs of neighbours in a typical evaluation. When the embedding tables would have more nodes
        than the nets have arguments there, the nets are evaluated themselves. None: not known,
        tables are used.
    use_table
        Whether there may be tables at all.
    splines
        In the stock dialect, tables in place of the embedding nets: a compressed model.
    standalone
        Whether other programs are to run the graph, with constant weights: embedding tables then
        cover all distances, and the graph itself tells of atoms that are too close.
    pair_table
        Coefficients of the table of pair potentials
        (:meth:`deepmd_tf.pair_table.PairTable.coefficients`), which a model with ``use_srtab``
        needs.
    scope
        Suffix of its names where it is one of several models.
    """

    config: ModelConfig

    def __init__(
        self,
        config: ModelConfig,
        *,
        original_sel: Mapping[str, tuple[int, ...]] | None = None,
        min_nbor_dist: float | None = None,
        expected_pairs: float | None = None,
        use_table: bool = True,
        splines: SplineOptions | None = None,
        standalone: bool = False,
        pair_table: Coefficients | None = None,
        scope: str = "",
    ) -> None:
        self.config = config
        self.ntypes = config.known_ntypes
        self.original_sel = original_sel
        self.types = TypeEmbedding.of(config, scope)
        self.descriptor = make_descriptor(
            config.descriptor, self.ntypes, original_sel, scope, types=self.types
        )
        self.fitting = make_fitting(
            config.fitting_net,
            self.ntypes - config.virtual_types,
            self.types,
            self.descriptor.turning_width,
        )
        self.min_nbor_dist = min_nbor_dist
        self.expected_pairs = expected_pairs
        self.use_table = use_table
        self.splines = splines
        self.standalone = standalone
        self.short_range: ShortRange | None = None
        if config.use_srtab is not None:
            if pair_table is None:
                raise ValueError("a model with use_srtab is built with its table")
            self.short_range = ShortRange(config, *pair_table)

    @property
    def dialects(self) -> Sequence[str]:
        """The dialects in which the model exists."""
        if self.short_range is None or not self._mixes_sections():
            return self.descriptor.dialects
        return tuple(d for d in self.descriptor.dialects if d not in ("stock", "compressed"))

    def _mixes_sections(self) -> bool:
        """Whether a section of the neighbours that a table of pairs is for has several types."""
        specs = self.descriptor.environments()
        largest = max(specs, key=lambda spec: spec.cutoff.rcut)
        return self.ntypes > 1 and not largest.selection.by_type

    @property
    def scope(self) -> str:
        """Suffix of its names where it is one of several models."""
        return self.descriptor.scope

    @property
    def dim_descriptor(self) -> int:
        return self.descriptor.dim_out

    @property
    def type_embeddings(self) -> list[str]:
        return [] if self.types is None else [self.types.node]

    @property
    def has_second_order(self) -> bool:
        return bool(self.descriptor.second_order())

    def describe(self) -> str:
        return self.descriptor.describe()

    def build_atoms(
        self,
        inputs: ModelInputs,
        parameters: Parameters,
        dialect: str = "native",
        statistics: Statistics | None = None,
        built: Sequence[Contraction] = (),
        *,
        tells_close: bool = True,
    ) -> AtomicOutputs:
        """Build the graph of the energies of atoms.

        Parameters
        ----------
        inputs
            Inputs of the graph.
        parameters
            Source of weights, averages and biases.
        dialect
            One of :data:`deepmd_tf.descriptors.LAYOUTS`.
        statistics
            First values of averages and biases when ``parameters`` makes new variables.
        built
            Of other models of the same inputs: what they have in common is not made again.
        tells_close
            Whether the graph for other programs tells of atoms that are too close.

        Raises
        ------
        InputError
            When the descriptor does not exist in this dialect.
        """
        if dialect == "stock" and (self.splines is not None or parameters.tables):
            dialect = "compressed"
        if dialect in self.descriptor.dialects and dialect not in self.dialects:
            raise InputError(
                "DeePMD-kit's operation for tables of pair potentials takes the type of a "
                "neighbour from its section, and within the largest cutoff of the descriptor "
                f'"{self.config.descriptor.type}" there is one section for all types: a file for '
                "DeePMD-kit would give the energies of other pairs; use the native dialect (dp "
                "freeze --native)"
            )
        if dialect not in self.descriptor.dialects:
            raise InputError(
                f'the descriptor "{self.config.descriptor.type}" does not exist in the {dialect} '
                f"dialect of graphs; it does in {', '.join(self.descriptor.dialects)}"
            )
        reach = self._table_reach(TRAINING_REACH if parameters.trained else TABLE_REACH)
        options = TableOptions(reach, self.standalone, self.splines)
        close = TABLE_REACH * (self.min_nbor_dist or 0.0) if self.standalone else 0.0
        if self.short_range is not None or not tells_close:
            close = 0.0  # a table of pair potentials is for close atoms
        contractions: list[Contraction] = []
        for spec in self.descriptor.environments():
            avg, std = self._averages(spec, inputs.dtype, parameters, statistics)
            part = build_layout(
                dialect, inputs, spec, avg, std, options, close, [*built, *contractions]
            )
            contractions.append(part)
            close = 0.0  # told once
        first = None
        if statistics is not None:
            first = {names.BIAS_ATOM_E: statistics.bias, **statistics.parameters}
        return self._energies(contractions, parameters, first)

    def build_atoms_at(
        self, contractions: Sequence[Contraction], inputs: ModelInputs, parameters: Parameters
    ) -> AtomicOutputs:
        """The same for other frames, with the parameters and tables of a model that was built."""
        placed: list[Contraction] = []
        for part in contractions:
            placed.append(part.at(inputs, placed))
        return self._energies(placed, parameters)

    def _energies(
        self,
        contractions: list[Contraction],
        parameters: Parameters,
        first: Mapping[str, np.ndarray] | None = None,
    ) -> AtomicOutputs:
        environment = contractions[0].environment
        features = self.descriptor.build(contractions, parameters)
        fitted = self.fit(features, environment.inputs, parameters, first, environment.native)
        blend = None
        if self.short_range is not None:
            environments = [part.environment for part in contractions]
            blend = self.short_range.build(environments, parameters, fitted.values)
        return AtomicOutputs(fitted, features, contractions, blend)

    def fit(
        self,
        features: Features,
        inputs: ModelInputs,
        parameters: Parameters,
        first: Mapping[str, np.ndarray] | None,
        native: bool,
    ) -> FittingOutput:
        """Values of atoms from their features, see :class:`~deepmd_tf.fitting.Fitting`."""
        return self.fitting.build(features.by_type, inputs, parameters, first, native)

    def _averages(
        self,
        spec: EnvironmentSpec,
        dtype: tf.DType,
        parameters: Parameters,
        statistics: Statistics | None,
    ) -> list[tf.Tensor]:
        """avg and std, [ntypes, components · slots]."""
        shape = (self.ntypes, spec.row_width)
        first = (np.zeros(shape), np.ones(shape))
        if spec.masked:  # the rows are as they are
            return [tf.constant(values, dtype) for values in first]
        if statistics is not None:
            first = statistics.of_rows(spec)
        return [
            parameters.get(
                names.suffixed(name, spec.scope), shape, dtype, Value(values), trainable=False
            )
            for name, values in zip((names.T_AVG, names.T_STD), first, strict=True)
        ]

    def _table_reach(self, fraction: float) -> float | None:
        """Smallest distance of the embedding table, Å, or None when the nets are evaluated at the
        pairs.
        """
        if not self.use_table:
            return None
        if self.expected_pairs is not None:
            arguments = self.expected_pairs * self.descriptor.arguments_per_pair
            if self.descriptor.table_count * USUAL_NODES > arguments:
                return None
        return fraction * (self.min_nbor_dist or UNKNOWN_DISTANCE)
