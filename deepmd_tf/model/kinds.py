# SPDX-License-Identifier: BSD-3-Clause
"""The kinds of models: what each is made of, what it predicts, and how that is compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deepmd_tf import fields, names
from deepmd_tf.config import AnyModelConfig, ModelConfig
from deepmd_tf.fields import Field
from deepmd_tf.metrics import (
    DIPOLE_QUANTITIES,
    DOS_QUANTITIES,
    ENERGY_QUANTITIES,
    POLAR_QUANTITIES,
    SPIN_QUANTITIES,
    UNIT_NOTE,
    Quantity,
)
from deepmd_tf.model.dos import DosModel
from deepmd_tf.model.energy import EnergyModel
from deepmd_tf.model.linear import LinearEnergyModel
from deepmd_tf.model.pairwise import PairwiseModel
from deepmd_tf.model.spin import SpinEnergyModel
from deepmd_tf.model.tensor import DipoleModel, PolarModel
from deepmd_tf.pair_table import Coefficients

ATOMS = -1
"""Stands for the number of atoms in :attr:`Output.shape`."""
POINTS = -2
"""Stands there for the number of energies of a density of states."""


@dataclass(frozen=True)
class Output:
    """An array that a model predicts.

    Attributes
    ----------
    name
        Member of the outputs of the built model.
    shape
        Of one frame, with :data:`ATOMS` for its number of atoms and :data:`POINTS` for that of
        energies.
    node
        Name in frozen files; empty for what not every file has.
    label
        Data item that it is compared with, if there is one.
    double
        Whether it is float64 whatever the type of the interface.
    part
        Whether it is the share of each atom in another output, which is given when it is asked for.
    selected
        Whether its node has the atoms of the selected types only.
    derivative
        Whether it is a derivative of another output, which costs more than that.
    """

    name: str
    shape: tuple[int, ...]
    node: str = ""
    label: Field | None = None
    double: bool = False
    part: bool = False
    selected: bool = False
    derivative: bool = False

    def with_points(self, n: int) -> Output:
        """The same with ``n`` for :data:`POINTS`."""
        if POINTS not in self.shape:
            return self
        return replace(self, shape=tuple(n if axis == POINTS else axis for axis in self.shape))

    def of_frame(self, n_atoms: int) -> tuple[int, ...]:
        """The shape for a frame of ``n_atoms`` atoms."""
        return tuple(n_atoms if n == ATOMS else n for n in self.shape)

    def store(
        self, values: np.ndarray, array: np.ndarray, frames: np.ndarray, atoms: np.ndarray
    ) -> None:
        """Write the values of ``atoms`` of ``frames`` into an array for all of them.

        Parameters
        ----------
        values
            len(frames) × :meth:`of_frame` of len(atoms) numbers.
        array
            [n_frames, ...], changed.
        frames, atoms
            Positions in ``array``.
        """
        values = values.reshape(len(frames), *self.of_frame(len(atoms)))
        if ATOMS not in self.shape:
            array[frames] = values
            return
        axis = 1 + self.shape.index(ATOMS)
        np.moveaxis(array, axis, 1)[frames[:, None], atoms] = np.moveaxis(values, axis, 1)


@dataclass(frozen=True)
class Kind:
    """A kind of model, which is the ``type`` of its ``fitting_net``.

    Attributes
    ----------
    words
        Name in messages, with its article.
    model
        Class that builds the graph.
    loss
        ``type`` of the ``loss`` section that trains it.
    outputs
        What it predicts, in the order in which it is evaluated.
    quantities
        What is compared with labels, in the order of reports.
    evaluator
        Class that evaluates model files, for messages.
    note
        Said behind the errors of a test.
    """

    words: str
    model: type
    loss: str
    outputs: Sequence[Output]
    quantities: Sequence[Quantity]
    evaluator: str
    note: str = ""

    @property
    def has_energies(self) -> bool:
        """Whether it predicts energies, so that it has an energy bias."""
        return any(output.label is fields.ENERGY for output in self.outputs)

    @property
    def nodes(self) -> dict[str, Output]:
        """The outputs that every frozen file has, by the names of their nodes."""
        return {output.node: output for output in self.outputs if output.node}

    def add_nodes(self, outputs: Any) -> None:
        """Let the outputs of a built model all be in the graph: some are added when they are first
        asked for."""
        for output in self.outputs:
            getattr(outputs, output.name)

    def evaluated(self, *, parts: bool) -> tuple[Output, ...]:
        """The outputs, with or without the shares of atoms."""
        return tuple(output for output in self.outputs if parts or not output.part)

    def labelled(self, *, parts: bool = False) -> dict[Field, Output]:
        """The outputs that can be compared with data items, by these items."""
        outputs = self.evaluated(parts=parts)
        return {output.label: output for output in outputs if output.label is not None}


def _tensor_outputs(
    size: int, of_frame: str, of_atoms: str, label: Field, atomic: Field
) -> tuple[Output, ...]:
    """Outputs of a model of tensors of ``size`` numbers, by their nodes and data items."""
    return (
        Output("total", (size,), of_frame, label, double=True),
        Output("force", (size, ATOMS, 3), names.O_FORCE, derivative=True),
        Output("virial", (size, 9), names.O_VIRIAL, derivative=True),
        Output("atomic", (ATOMS, size), of_atoms, atomic, part=True, selected=True),
        Output("atom_virial", (size, ATOMS, 9), names.O_ATOM_VIRIAL, part=True, derivative=True),
    )


_ENERGY_OUTPUTS = (
    Output("energy", (1,), names.O_ENERGY, fields.ENERGY, double=True),
    Output("force", (ATOMS, 3), names.O_FORCE, fields.FORCE),
    Output("virial", (9,), names.O_VIRIAL, fields.VIRIAL),
    Output("atom_energy", (ATOMS, 1), names.O_ATOM_ENERGY, fields.ATOM_ENER, part=True),
    Output("atom_virial", (ATOMS, 9), names.O_ATOM_VIRIAL, part=True),
)

MODEL_KINDS = {
    "ener": Kind(
        words="an energy model",
        model=EnergyModel,
        loss="ener",
        outputs=_ENERGY_OUTPUTS,
        quantities=ENERGY_QUANTITIES,
        evaluator="DeepPot",
    ),
    "ener_spin": Kind(
        words="an energy model with spins",
        model=SpinEnergyModel,
        loss="ener_spin",
        outputs=_ENERGY_OUTPUTS,
        quantities=SPIN_QUANTITIES,
        evaluator="DeepPot",
    ),
    "dipole": Kind(
        words="a dipole model",
        model=DipoleModel,
        loss="tensor",
        outputs=_tensor_outputs(
            3, names.O_GLOBAL_DIPOLE, names.O_DIPOLE, fields.DIPOLE, fields.ATOMIC_DIPOLE
        ),
        quantities=DIPOLE_QUANTITIES,
        evaluator="DeepDipole",
        note=UNIT_NOTE,
    ),
    "polar": Kind(
        words="a polarisability model",
        model=PolarModel,
        loss="tensor",
        outputs=_tensor_outputs(
            9,
            names.O_GLOBAL_POLAR,
            names.O_POLAR,
            fields.POLARIZABILITY,
            fields.ATOMIC_POLARIZABILITY,
        ),
        quantities=POLAR_QUANTITIES,
        evaluator="DeepPolar",
        note=UNIT_NOTE,
    ),
    "dos": Kind(
        words="a model of densities of states",
        model=DosModel,
        loss="dos",
        outputs=(
            Output("dos", (POINTS,), names.O_DOS, fields.DOS, double=True),
            Output("atom_dos", (ATOMS, POINTS), names.O_ATOM_DOS, fields.ATOM_DOS, part=True),
        ),
        quantities=DOS_QUANTITIES,
        evaluator="DeepDOS",
    ),
}
"""By :data:`deepmd_tf.names.MODEL_TYPE`; "_spin" is added for a model with spins."""

COMPOSITES: dict[str, Callable[..., Any]] = {
    "linear_ener": LinearEnergyModel,
    "pairwise_dprc": PairwiseModel,
}
"""Models of several members, by the ``type`` of their section."""


def kind_of(config: AnyModelConfig) -> Kind:
    """The kind of the model of an input script."""
    return MODEL_KINDS[config.main.kind]


def make_model(
    config: AnyModelConfig,
    *,
    pair_tables: Mapping[str, Coefficients] | None = None,
    **options: Any,
) -> Any:
    """The model of a section ``model`` of any kind.

    Parameters
    ----------
    config
        The section, with ``sel`` resolved to numbers.
    pair_tables
        Coefficients of the tables of pair potentials, by the scope of the member.
    **options
        As :class:`~deepmd_tf.model.atomic.AtomicModel` has them.
    """
    tables = pair_tables or {}
    if isinstance(config, ModelConfig):
        return kind_of(config).model(config, pair_table=tables.get(""), **options)
    return COMPOSITES[config.type](config, pair_tables=tables, **options)
