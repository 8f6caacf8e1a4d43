# SPDX-License-Identifier: BSD-3-Clause
"""What a file says of one model, cross-checked: of a model by itself or of a member of several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from deepmd_tf import names
from deepmd_tf.config import AnyModelConfig, FittingEner, ModelConfig, PairTabConfig
from deepmd_tf.config.model import Member
from deepmd_tf.descriptors import environments_of_member
from deepmd_tf.environment.spec import EnvironmentSpec, is_tiled, with_absent_types
from deepmd_tf.errors import ModelFileError
from deepmd_tf.graph.attributes import of_fitting

Arrays = Mapping[str, np.ndarray]


class UntiledError(ModelFileError):
    """Neighbours of an atom are normalised by different numbers: only the graph of the file can be
    run.
    """


def of_member(arrays: Arrays, scope: str) -> dict[str, np.ndarray]:
    """The arrays of a member, by the names that they have in a model by itself."""
    if not scope:
        return dict(arrays)
    split = ((*names.split_model(name), array) for name, array in arrays.items())
    return {name: array for name, found, array in split if found == scope}


@dataclass(frozen=True)
class MemberFile:
    """What a file has of a member.

    Attributes
    ----------
    path, where
        The file with the numbers, and the one with the attributes.
    scope, config
        Of the member.
    ntypes
        Number of atom types.
    constants, weights
        Attributes and numbers, by the names of a model by itself.
    environments
        Of the member, with its scope.
    """

    path: Path
    where: Path
    scope: str
    config: Any
    ntypes: int
    constants: dict[str, np.ndarray]
    weights: dict[str, np.ndarray]
    environments: list[EnvironmentSpec]

    @classmethod
    def of(
        cls,
        path: Path,
        where: Path,
        member: Member,
        ntypes: int,
        constants: Arrays,
        weights: Arrays,
    ) -> MemberFile:
        """Take from the arrays of the file what belongs to the member."""
        return cls(
            path,
            where,
            member.scope,
            member.config,
            ntypes,
            of_member(constants, member.scope),
            of_member(weights, member.scope),
            environments_of_member(member, ntypes),
        )

    def named(self, name: str) -> str:
        """The name in the file of what is ``name`` in a model by itself."""
        return names.in_model(name, self.scope)

    def checked(self) -> dict[str, np.ndarray]:
        """Weights and statistics, complete and in the form of this package, by their names in the
        file.

        Raises
        ------
        ModelFileError
            When something is missing or cannot be right.
        """
        if isinstance(self.config, PairTabConfig):
            self._check_pair_table(wanted=True)
        else:
            self._check_nets(self.config)
        return {self.named(name): array for name, array in self.weights.items()}

    @property
    def interface(self) -> np.dtype | None:
        """Type of coordinates and forces, as far as the averages tell it."""
        averages = averages_of(self.environments)
        return self.weights[self._plain(next(iter(averages)))].dtype if averages else None

    def original_sel(self) -> dict[str, tuple[int, ...]]:
        """``sel`` of the first training, by the scope of the environment."""
        return {
            spec.scope: _original_sel(self.where, spec, self._constant(names.ORIGINAL_SEL, spec))
            for spec in self.environments
        }

    def _plain(self, name: str) -> str:
        return names.split_model(name)[0]

    def _constant(self, name: str, spec: EnvironmentSpec) -> np.ndarray | None:
        return self.constants.get(self._plain(names.suffixed(name, spec.scope)))

    def _check_nets(self, model: ModelConfig) -> None:
        averages = averages_of(self.environments)
        for name in averages:
            if self._plain(name) not in self.weights:
                raise missing(self.path, name)
        if not averages and names.RCUT not in self.constants:
            raise missing(self.where, self.named(names.RCUT))
        _complete_weights(model, self.weights, self.interface or self.constants[names.RCUT].dtype)
        self._check_agreement(model)
        for name, spec in averages.items():
            plain, absent = self._plain(name), 0.0
            if name.endswith("std"):
                absent = 1.0 / spec.cutoff.given[0]
            self.weights[plain] = with_absent_types(self.weights[plain], absent)
            if not is_tiled(self.weights[plain], spec.components):
                raise UntiledError(
                    f'{self.path}: "{name}" differs between the neighbours of an atom, which is '
                    "not supported"
                )
        self._check_pair_table(wanted=model.use_srtab is not None)
        _fold_output_statistics(self.path, model, self.weights)

    def _check_agreement(self, model: ModelConfig) -> None:
        """The attributes of a file must say what its input script says."""
        descriptor, fitting = model.descriptor, model.fitting_net
        expected: dict[str, Any] = {
            names.NTYPES: model.ntypes,
            names.DFPARAM: fitting.numb_fparam,
            names.DAPARAM: fitting.numb_aparam,
            **of_fitting(fitting, self.ntypes),
            names.NTYPES_SPIN: model.virtual_types,
            **{
                names.suffixed(names.SEL, part.scope): part.config.sel
                for part in descriptor.for_types(self.ntypes).parts()
            },
        }
        for name, value in expected.items():
            found = self.constants.get(name)
            if found is None or value is None:
                continue  # not every kind of model has it
            if name == names.SEL_TYPE:
                found = np.sort(found, axis=None)  # DeePMD-kit has it as it was written
            if not np.array_equal(np.maximum(found, 0), value):
                raise disagreement(self.where, self.named(name), found, value)
        rcut = self.constants.get(names.RCUT)
        require_rcut(self.where, self.named(names.RCUT), rcut, descriptor.largest_rcut)

    def _check_pair_table(self, *, wanted: bool) -> None:
        """The table that the input script speaks of is there and has a possible size."""
        info, data = (self.weights.get(name) for name in (names.TAB_INFO, names.TAB_DATA))
        if not wanted:
            if info is not None or data is not None:
                raise ModelFileError(
                    f'{self.path}: has a table of pair potentials, "{self.named(names.TAB_INFO)}", '
                    'of which its input script says nothing ("use_srtab")'
                )
            return
        if info is None or data is None:
            absent = names.TAB_INFO if info is None else names.TAB_DATA
            raise missing(self.path, self.named(absent))
        sound = (
            info.shape == (4,)
            and info.dtype == data.dtype == np.float64
            and np.isfinite(info).all()
            and np.isfinite(data).all()
            and info[0] >= 0 < info[1]
            and info[3] == self.ntypes
            and data.shape == (info[2] * self.ntypes * self.ntypes * 4,)
        )
        if not sound:
            raise ModelFileError(
                f"{self.path}: the table of pair potentials is damaged: "
                f'"{self.named(names.TAB_INFO)}" is {info.tolist()}, and '
                f'"{self.named(names.TAB_DATA)}" has {data.size} numbers'
            )


def check_sum(where: Path, model: AnyModelConfig, constants: Arrays) -> None:
    """The attributes of a model of several must say what its input script says."""
    found = constants.get(names.NTYPES)
    if found is not None and not np.array_equal(found, model.known_ntypes):
        raise disagreement(where, names.NTYPES, found, model.known_ntypes)
    require_rcut(where, names.RCUT, constants.get(names.RCUT), model.largest_rcut)


def require_rcut(where: Path, name: str, rcut: np.ndarray | None, value: float) -> None:
    """The cutoff of a file, if it has one, must be that of its input script."""
    if rcut is not None and not np.isclose(rcut, value, rtol=1e-6, atol=0.0):
        raise ModelFileError(
            f'{where}: "{name}" is {rcut}, but the input script in the file says {value}'
        )


def disagreement(where: Path, name: str, found: np.ndarray, value: Any) -> ModelFileError:
    """The error for an attribute of which the input script says something else."""
    return ModelFileError(
        f'{where}: "{name}" is {found.tolist()}, but the input script in the file says {value}'
    )


def averages_of(environments: Iterable[EnvironmentSpec]) -> dict[str, EnvironmentSpec]:
    """Names of the averages that rows are normalised with, with their environments."""
    return {
        names.suffixed(name, spec.scope): spec
        for spec in environments
        for name in (names.T_AVG, names.T_STD)
        if spec.has_averages
    }


def missing(path: Path, name: str) -> ModelFileError:
    """The error for a file without the node ``name``."""
    return ModelFileError(f'{path}: not a complete model: the node "{name}" is missing')


def _original_sel(where: Path, spec: EnvironmentSpec, found: np.ndarray | None) -> tuple[int, ...]:
    """What a file has of an environment; by default the present ``sel``."""
    counts = spec.selection.counts
    if found is None:
        found = np.asarray(counts)
    if found.shape != np.shape(counts) or found.sum() < 1:
        name = names.suffixed(names.ORIGINAL_SEL, spec.scope)
        raise ModelFileError(f'{where}: "{name}" is {found.tolist()}')
    return tuple(found.tolist())


def _complete_weights(model: ModelConfig, weights: dict[str, np.ndarray], dtype: np.dtype) -> None:
    """Give statistics that older files lack the numbers that stand for none."""
    if model.fitting_net.type == "ener" and names.BIAS_ATOM_E not in weights:
        weights[names.BIAS_ATOM_E] = _bias_before_2_2(model, dtype)
    if model.fitting_net.type == "polar":
        weights.setdefault(names.POLAR_SHIFT, np.zeros(model.known_ntypes, dtype))


def _bias_before_2_2(model: ModelConfig, dtype: np.dtype) -> np.ndarray:
    """Energy of an atom of each type in files of DeePMD-kit up to 2.1.

    They have it in the bias of the last layer. Where ``atom_ener`` is given, that cancels, and the
    given energy is added by the graph.
    """
    fitting = cast(FittingEner, model.fitting_net)
    given = fitting.atom_ener or [None] * (model.known_ntypes - model.virtual_types)
    return np.array([0.0 if energy is None else energy for energy in given], dtype)


def _of_real_types(values: np.ndarray, model: ModelConfig) -> np.ndarray:
    """Values of all types, without those of virtual atoms, which are last; one value as it is."""
    return values[: len(values) - model.virtual_types] if len(values) > 1 else values


def _fold_output_statistics(path: Path, model: ModelConfig, weights: dict[str, np.ndarray]) -> None:
    """Replace the output scale and shift of stock files, E·std + bias of each type, by equal last
    layers and an equal shift of the atomic energies."""
    std = weights.pop(names.OUT_STD, np.ones(()))
    bias = weights.pop(names.OUT_BIAS, np.zeros(()))
    if np.all(std == 1.0) and np.all(bias == 0.0):
        return
    if model.fitting_net.type != "ener":
        raise ModelFileError(
            f'{path}: "{names.OUT_STD}" and "{names.OUT_BIAS}" change what the nets give, which is '
            "supported for energies only"
        )
    if model.use_srtab is not None:
        raise ModelFileError(
            f'{path}: "{names.OUT_STD}" and "{names.OUT_BIAS}" change the energies of the nets and '
            "not those of the table of pair potentials, which is not supported"
        )
    shift = weights[names.BIAS_ATOM_E]
    try:
        std, bias = (
            np.broadcast_to(_of_real_types(a.reshape(-1), model), shift.shape) for a in (std, bias)
        )
    except ValueError:
        raise ModelFileError(
            f'{path}: "{names.OUT_STD}" and "{names.OUT_BIAS}" need one number for each type'
        ) from None
    weights[names.BIAS_ATOM_E] = (shift * std + bias).astype(shift.dtype)
    layers = cast(FittingEner, model.fitting_net).layer_name or [None]
    if layers[-1] is not None and layers[-1] in layers[:-1]:
        raise ModelFileError(
            f'{path}: "{names.OUT_STD}" scales a last layer that other layers share their weights '
            "with, which is not supported"
        )
    scales: list[tuple[int | None, float]] = list(enumerate(std))
    if model.embedding_of_types is not None:
        if np.any(std != std[0]):
            raise ModelFileError(
                f'{path}: "{names.OUT_STD}" scales the types differently, but the model has one '
                "net for all, which is not supported"
            )
        scales = [(None, std[0])]
    for atom_type, factor in scales:
        for part in (names.fitting_matrix, names.fitting_bias):
            name = part(None, atom_type, layers[-1])
            # a weight that is missing is told where the model is built
            if factor != 1.0 and name in weights:
                weights[name] = (weights[name] * factor).astype(weights[name].dtype)
