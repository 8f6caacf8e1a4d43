# SPDX-License-Identifier: BSD-3-Clause
"""Contents of a model file, assembled and cross-checked."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.config import AnyDescriptorConfig, FittingEner, FittingTensor, ModelConfig
from deepmd_tf.config.compat import convert
from deepmd_tf.config.report import Report
from deepmd_tf.descriptors import make_descriptor, neighbor_limits
from deepmd_tf.environment.spec import (
    EnvironmentSpec,
    NeighborLimit,
    is_tiled,
    largest_of_type,
    with_absent_types,
)
from deepmd_tf.errors import DeepmdError, ModelFileError
from deepmd_tf.fields import ParameterInputs
from deepmd_tf.graph.attributes import of_fitting
from deepmd_tf.graph.features import not_available
from deepmd_tf.graph.recognise import complete
from deepmd_tf.model.energy import EnergyModel, ModelOutputs
from deepmd_tf.model.kinds import MODEL_KINDS
from deepmd_tf.nn.parameters import ConstantParameters
from deepmd_tf.nn.precision import INTERFACE_VARIABLE, interface_dtype, use_interface
from deepmd_tf.nn.spline import SplineOptions
from deepmd_tf.nn.stored_spline import Spline

Dialect = Literal["native", "stock", "checkpoint"]


@dataclass(frozen=True)
class SavedModel:
    """A trained model as it was found in a file.

    Attributes
    ----------
    path
        Frozen graph, or prefix of the checkpoint.
    dialect
        Which graph the file holds: "native" or "stock"; "checkpoint" for a checkpoint.
    model
        Section ``model`` of the input script of the training, with ``sel`` resolved.
    script
        The whole input script in the present layout. Its ``model`` is that of :attr:`model`, the
        other sections are as they were found: they may ask for features that this package lacks.
    type_map
        Name of each atom type; empty when the model was trained without names.
    weights
        Weights and statistics by name, see :func:`deepmd_tf.names.is_parameter`, as they are in the
        file; averages of types that the training data did not have are numbers.
    original_sel
        ``sel`` that sums over neighbours are divided by, by the scope of the environment: that of
        the first training.
    min_nbor_dist
        Smallest distance between two atoms of the training data in angstrom; None when it was not
        measured.
    interface_dtype
        float64 or float32: type of coordinates, forces and virials when the model was trained.
    has_hessian_output
        Whether the graph in the file computes Hessians, too.
    tables
        Of a model that was compressed, by name: what it has in place of embedding nets.
    """

    path: Path
    dialect: Dialect
    model: ModelConfig
    script: dict[str, Any] = field(repr=False)
    type_map: tuple[str, ...]
    weights: dict[str, np.ndarray] = field(repr=False)
    original_sel: Mapping[str, tuple[int, ...]]
    min_nbor_dist: float | None
    interface_dtype: np.dtype
    has_hessian_output: bool = False
    tables: Mapping[str, Spline] = field(default_factory=dict, repr=False)

    @property
    def made_for_hessians(self) -> bool:
        """Whether the model was trained on Hessians, or the file has an output of them."""
        loss = self.script.get("loss")
        keys = ("start_pref_h", "limit_pref_h")
        trained = isinstance(loss, dict) and any(loss.get(key) for key in keys)
        return trained or self.has_hessian_output

    @property
    def model_type(self) -> str:
        """Kind of the model, a key of :data:`deepmd_tf.model.kinds.MODEL_KINDS`."""
        return self.model.fitting_net.type

    @property
    def ntypes(self) -> int:
        """Number of atom types."""
        return self.model.known_ntypes

    @property
    def rcut(self) -> float:
        """Cutoff radius, angstrom."""
        return float(self.model.descriptor.largest_rcut)

    @property
    def sel(self) -> tuple[int, ...]:
        """Neighbours kept of each type, of several descriptors the largest number; one number,
        where it is of all types together.
        """
        return largest_of_type(self.neighbor_limits, self.ntypes)

    @property
    def neighbor_limits(self) -> list[NeighborLimit]:
        """Neighbours kept, as they are counted."""
        return neighbor_limits(self.model.descriptor, self.ntypes)

    @property
    def parameter_inputs(self) -> ParameterInputs:
        """What it takes; atomic parameters that it has but does not use need not be given."""
        fitting, descriptor = self.model.fitting_net, self.model.descriptor
        unused = fitting.net_aparam < fitting.numb_aparam and not descriptor.masked
        return ParameterInputs(
            fitting.numb_fparam,
            fitting.numb_aparam,
            fitting.default_fparam,
            [0.0] * fitting.numb_aparam if unused else None,
            descriptor.neighbors[""] if descriptor.masked else None,
        )

    @property
    def sel_type(self) -> tuple[int, ...]:
        """Types of the atoms that have a tensor; empty where there are none."""
        fitting = self.model.fitting_net
        return fitting.selected(self.ntypes) if isinstance(fitting, FittingTensor) else ()

    @property
    def numb_dos(self) -> int:
        """Energies of the density of states; 0 where there is none."""
        return getattr(self.model.fitting_net, "numb_dos", 0)

    @property
    def pair_table(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Coefficients of its table of pair potentials
        (:meth:`deepmd_tf.pair_table.PairTable.coefficients`); None without one."""
        if self.model.use_srtab is None:
            return None
        return self.weights[names.TAB_INFO], self.weights[names.TAB_DATA]

    @property
    def model_script(self) -> dict[str, Any]:
        """Section ``model`` of the input script, with all defaults."""
        return self.model.to_dict()

    @property
    def interface(self) -> tf.DType:
        """Type of the interface to rebuild the model with.

        What ``DP_INTERFACE_PREC`` says, and without it that of the training.
        """
        if INTERFACE_VARIABLE in os.environ:
            return interface_dtype()
        return tf.as_dtype(self.interface_dtype)

    def build(
        self,
        dialect: str,
        *,
        use_table: bool = True,
        splines: SplineOptions | None = None,
        standalone: bool = False,
    ) -> BuiltModel:
        """Build the model in the default graph, with constant weights.

        Parameters
        ----------
        dialect
            One of :data:`deepmd_tf.descriptors.LAYOUTS`.
        use_table, splines, standalone
            See :class:`~deepmd_tf.model.EnergyModel`.

        Raises
        ------
        ModelFileError
            When a weight is missing or has another shape than the input script asks for.
        """
        model = self._make(use_table=use_table, splines=splines, standalone=standalone)
        parameters = ConstantParameters(self.weights, str(self.path), self.tables)
        with use_interface(self.interface):
            inputs = model.make_inputs(self.interface)
            outputs = model.build(inputs, parameters, dialect=dialect)
        return BuiltModel(model, parameters, outputs)

    @property
    def dialects(self) -> Sequence[str]:
        """The dialects of graphs in which the model exists."""
        return self._make().dialects

    def _make(self, **options: Any) -> EnergyModel:
        return MODEL_KINDS[self.model_type].model(
            self.model,
            original_sel=self.original_sel,
            min_nbor_dist=self.min_nbor_dist,
            pair_table=self.pair_table,
            **options,
        )


class UntiledError(ModelFileError):
    """Neighbours of an atom are normalised by different numbers: only the graph of the file can be
    run.
    """


class BuiltModel(NamedTuple):
    """A saved model in a graph: the model, its weights, and its tensors."""

    model: EnergyModel
    parameters: ConstantParameters
    outputs: ModelOutputs


def assemble(
    path: Path,
    dialect: Dialect,
    constants: dict[str, np.ndarray],
    weights: dict[str, np.ndarray],
    attributes: Path | None = None,
) -> SavedModel:
    """Put together and cross-check what a file says.

    Parameters
    ----------
    path, dialect, weights
        See :class:`SavedModel`.
    constants
        Attributes by name.
    attributes
        The file that holds the attributes, when it is another than ``path``.

    Raises
    ------
    ModelFileError
        When something is missing or cannot be right; the message names the file and the node.
    """
    where = attributes or path
    model, script = _read_script(where, constants, weights)
    environments = make_descriptor(model.descriptor, model.known_ntypes).environments()
    averages = averages_of(environments)
    for name in averages:
        if name not in weights:
            raise missing(path, name)
    if not averages and names.RCUT not in constants:
        raise missing(where, names.RCUT)
    interface = (weights[next(iter(averages))] if averages else constants[names.RCUT]).dtype
    _complete_weights(model, weights, interface)
    _check_agreement(where, model, constants)
    for name, spec in averages.items():
        absent = 0.0 if name.endswith("avg") else 1.0 / spec.cutoff.given[0]
        weights[name] = with_absent_types(weights[name], absent)
        if not is_tiled(weights[name], spec.components):
            raise UntiledError(
                f'{path}: "{name}" differs between the neighbours of an atom, which is not '
                "supported"
            )
    _check_pair_table(path, model, weights)
    _fold_output_statistics(path, model, weights)
    distance = constants.get(names.MIN_NBOR_DIST)
    type_map = text_of(constants, names.TYPE_MAP)
    return SavedModel(
        path=path,
        dialect=dialect,
        model=model,
        script=script,
        type_map=tuple(model.type_map or () if type_map is None else type_map.split()),
        weights=weights,
        original_sel={spec.scope: _original_sel(where, spec, constants) for spec in environments},
        min_nbor_dist=None if distance is None else float(distance),
        interface_dtype=interface,
    )


def averages_of(environments: Iterable[EnvironmentSpec]) -> dict[str, EnvironmentSpec]:
    """Names of the averages that rows are normalised with, with their environments."""
    return {
        names.suffixed(name, spec.scope): spec
        for spec in environments
        for name in (names.T_AVG, names.T_STD)
        if not spec.masked
    }


def missing(path: Path, name: str) -> ModelFileError:
    """The error for a file without the node ``name``."""
    return ModelFileError(f'{path}: not a complete model: the node "{name}" is missing')


def text_of(constants: Mapping[str, np.ndarray], name: str) -> str | None:
    """The text of a constant; None when there is none."""
    value = constants.get(name)
    if value is None or value.size != 1:
        return None
    value = value.item()
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def _read_script(
    where: Path, constants: dict[str, np.ndarray], weights: dict[str, np.ndarray]
) -> tuple[ModelConfig, dict[str, Any]]:
    """Section ``model`` and the whole of the input script, with ``sel`` resolved."""
    text = text_of(constants, names.TRAINING_SCRIPT)
    if text is None:
        raise missing(where, names.TRAINING_SCRIPT)
    source = f"{where} ({names.TRAINING_SCRIPT})"
    try:
        # Only the layout is brought up to date: what the training was asked for is its own affair.
        script = convert(json.loads(text), Report(source))
        script["model"].pop("compress", None)  # how the tables of the file were made
        kind = script["model"].get("type")
        if kind in ModelConfig.other_types:
            raise not_available(source, f'the type "{kind}"')
        # Scripts of models trained with "auto" may be stored as they were written.
        for scope, descriptor in AnyDescriptorConfig.sections(script["model"]["descriptor"]):
            sel = names.suffixed(names.SEL, scope)
            if isinstance(descriptor.get("sel"), str) and sel in constants:
                descriptor["sel"] = constants[sel].tolist()
        if names.DEFAULT_FPARAM in constants:
            default = constants[names.DEFAULT_FPARAM].tolist()
            script["model"].setdefault("fitting_net", {})["default_fparam"] = default
        complete(script["model"], weights, constants)
        report = Report(f"{source}, model", editable=False)
        model = ModelConfig.read(script["model"], report)
        report.finish()
    except json.JSONDecodeError as error:
        raise ModelFileError(f"{source}: not JSON ({error})") from None
    except (KeyError, TypeError, AttributeError):
        raise ModelFileError(
            f'{source}: no input script: it has no "model" with a "descriptor"'
        ) from None
    except ModelFileError:
        raise
    except DeepmdError as error:
        raise ModelFileError(str(error)) from error
    for part in model.descriptor.parts():
        if isinstance(part.config.sel, str):
            node = names.suffixed(names.SEL, part.scope)
            raise ModelFileError(
                f'{source}: {part.path}sel is "{part.config.sel}" and the node "{node}" is missing'
            )
    return model, script | {"model": model.to_dict()}


def _check_agreement(where: Path, model: ModelConfig, constants: dict[str, np.ndarray]) -> None:
    """The attributes of a file must say what its input script says."""
    descriptor, fitting = model.descriptor, model.fitting_net
    expected: dict[str, Any] = {
        names.NTYPES: model.ntypes,
        **{key: v for key, v in of_fitting(fitting, model.known_ntypes).items() if v is not None},
        names.DFPARAM: fitting.numb_fparam,
        names.DAPARAM: fitting.numb_aparam,
        **{names.suffixed(names.SEL, p.scope): p.config.sel for p in descriptor.parts()},
    }
    for name, value in expected.items():
        if name in constants and not np.array_equal(np.maximum(constants[name], 0), value):
            raise ModelFileError(
                f'{where}: "{name}" is {constants[name].tolist()}, '
                f"but the input script in the file says {value}"
            )
    rcut = constants.get(names.RCUT)
    if rcut is not None and not np.isclose(rcut, descriptor.largest_rcut, rtol=1e-6, atol=0.0):
        raise ModelFileError(
            f'{where}: "{names.RCUT}" is {rcut}, '
            f"but the input script in the file says {descriptor.largest_rcut}"
        )


def _check_pair_table(path: Path, model: ModelConfig, weights: Mapping[str, np.ndarray]) -> None:
    """The table that the input script speaks of is there and has a possible size."""
    info, data = (weights.get(name) for name in (names.TAB_INFO, names.TAB_DATA))
    if model.use_srtab is None:
        if info is not None or data is not None:
            raise ModelFileError(
                f'{path}: has a table of pair potentials, "{names.TAB_INFO}", of which its input '
                'script says nothing ("use_srtab")'
            )
        return
    if info is None or data is None:
        raise missing(path, names.TAB_INFO if info is None else names.TAB_DATA)
    ntypes = model.known_ntypes
    sound = (
        info.shape == (4,)
        and info.dtype == data.dtype == np.float64
        and np.isfinite(info).all()
        and np.isfinite(data).all()
        and info[0] >= 0 < info[1]
        and info[3] == ntypes
        and data.shape == (info[2] * ntypes * ntypes * 4,)
    )
    if not sound:
        raise ModelFileError(
            f'{path}: the table of pair potentials is damaged: "{names.TAB_INFO}" is '
            f'{info.tolist()}, and "{names.TAB_DATA}" has {data.size} numbers'
        )


def _original_sel(
    where: Path, spec: EnvironmentSpec, constants: dict[str, np.ndarray]
) -> tuple[int, ...]:
    """What a file has of an environment; by default the present ``sel``."""
    name, counts = names.suffixed(names.ORIGINAL_SEL, spec.scope), spec.selection.counts
    found = constants.get(name, np.asarray(counts))
    if found.shape != np.shape(counts) or found.sum() < 1:
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
    given = fitting.atom_ener or [None] * model.known_ntypes
    return np.array([0.0 if energy is None else energy for energy in given], dtype)


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
        std, bias = (np.broadcast_to(a.reshape(-1), shift.shape) for a in (std, bias))
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
