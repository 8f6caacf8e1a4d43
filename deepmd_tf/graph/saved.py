# SPDX-License-Identifier: BSD-3-Clause
"""Contents of a model file, assembled and cross-checked."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.config import (
    AnyDescriptorConfig,
    AnyModelConfig,
    FittingTensor,
    ModelConfig,
)
from deepmd_tf.config.compat import convert
from deepmd_tf.config.pairwise import MEMBERS as PAIRWISE_MEMBERS
from deepmd_tf.config.report import Report
from deepmd_tf.descriptors import neighbor_limits
from deepmd_tf.environment.spec import NeighborLimit, largest_of_type
from deepmd_tf.errors import DeepmdError, ModelFileError
from deepmd_tf.fields import ParameterInputs
from deepmd_tf.graph.assembly import MemberFile, check_sum, missing, of_member
from deepmd_tf.graph.features import not_available
from deepmd_tf.graph.recognise import complete
from deepmd_tf.model.base import Model
from deepmd_tf.model.energy import ModelOutputs
from deepmd_tf.model.kinds import make_model
from deepmd_tf.nn.parameters import ConstantParameters
from deepmd_tf.nn.precision import INTERFACE_VARIABLE, interface_dtype, use_interface
from deepmd_tf.nn.spline import SplineOptions
from deepmd_tf.nn.stored_spline import Spline
from deepmd_tf.pair_table import Coefficients

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
    model: AnyModelConfig
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
        return self.model.main.kind

    @property
    def ntypes(self) -> int:
        """Number of atom types."""
        return self.model.known_ntypes

    @property
    def virtual_types(self) -> int:
        """How many of the types, the last ones, are of virtual atoms that stand for spins."""
        return self.model.virtual_types

    @property
    def rcut(self) -> float:
        """Cutoff radius, angstrom."""
        return float(self.model.largest_rcut)

    @property
    def sel(self) -> tuple[int, ...]:
        """Neighbours kept of each type, of several descriptors the largest number; one number,
        where it is of all types together.
        """
        return largest_of_type(self.neighbor_limits, self.ntypes)

    @property
    def neighbor_limits(self) -> list[NeighborLimit]:
        """Neighbours kept, as they are counted."""
        return neighbor_limits(self.model, self.ntypes)

    @property
    def parameter_inputs(self) -> ParameterInputs:
        """What it takes; atomic parameters that it has but does not use need not be given."""
        fitting, descriptor = self.model.main.fitting_net, self.model.main.descriptor
        unused = fitting.net_aparam < fitting.numb_aparam and not self.model.masked
        return ParameterInputs(
            fitting.numb_fparam,
            self.model.numb_aparam,
            fitting.default_fparam,
            [0.0] * fitting.numb_aparam if unused else None,
            descriptor.neighbors[""] if self.model.masked else None,
        )

    @property
    def sel_type(self) -> tuple[int, ...]:
        """Types of the atoms that have a tensor; empty where there are none."""
        fitting = self.model.main.fitting_net
        return fitting.selected(self.ntypes) if isinstance(fitting, FittingTensor) else ()

    @property
    def numb_dos(self) -> int:
        """Energies of the density of states; 0 where there is none."""
        return getattr(self.model.main.fitting_net, "numb_dos", 0)

    @property
    def pair_tables(self) -> dict[str, Coefficients]:
        """Coefficients of its tables of pair potentials
        (:meth:`deepmd_tf.pair_table.PairTable.coefficients`), by the scope of the member."""
        found = {}
        for member in self.model.members():
            info, data = (names.in_model(n, member.scope) for n in (names.TAB_INFO, names.TAB_DATA))
            if info in self.weights:
                found[member.scope] = self.weights[info], self.weights[data]
        return found

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

    def _make(self, **options: Any) -> Model:
        return make_model(
            self.model,
            original_sel=self.original_sel,
            min_nbor_dist=self.min_nbor_dist,
            pair_tables=self.pair_tables,
            **options,
        )


class BuiltModel(NamedTuple):
    """A saved model in a graph: the model, its weights, and its tensors."""

    model: Model
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
    members = [
        MemberFile.of(path, where, member, model.known_ntypes, constants, weights)
        for member in model.members()
    ]
    if not isinstance(model, ModelConfig):
        check_sum(where, model, constants)
    checked = {name: array for one in members for name, array in one.checked().items()}
    if len(members) > 1:  # what they share
        checked |= {n: a for n, a in of_member(weights, "").items() if names.weight_owner(n)}
    known = [one.interface for one in members if one.interface is not None]
    distance = constants.get(names.MIN_NBOR_DIST)
    type_map = text_of(constants, names.TYPE_MAP)
    return SavedModel(
        path=path,
        dialect=dialect,
        model=model,
        script=script,
        type_map=tuple(model.type_map or () if type_map is None else type_map.split()),
        weights=checked,
        original_sel={scope: sel for one in members for scope, sel in one.original_sel().items()},
        min_nbor_dist=None if distance is None else float(distance),
        interface_dtype=known[0] if known else constants[names.RCUT].dtype,
    )


def text_of(constants: Mapping[str, np.ndarray], name: str) -> str | None:
    """The text of a constant; None when there is none."""
    value = constants.get(name)
    if value is None or value.size != 1:
        return None
    value = value.item()
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def _read_script(
    where: Path, constants: dict[str, np.ndarray], weights: dict[str, np.ndarray]
) -> tuple[AnyModelConfig, dict[str, Any]]:
    """Section ``model`` and the whole of the input script, with ``sel`` resolved."""
    text = text_of(constants, names.TRAINING_SCRIPT)
    if text is None:
        raise missing(where, names.TRAINING_SCRIPT)
    source = f"{where} ({names.TRAINING_SCRIPT})"
    try:
        # Only the layout is brought up to date: what the training was asked for is its own affair.
        script = convert(json.loads(text), Report(source))
        section = script["model"]
        kind = section.get("type")
        if kind in ModelConfig.other_types and kind not in AnyModelConfig.registered:
            raise not_available(source, f'the type "{kind}"')
        for scope, member in _member_sections(source, section):
            _complete(member, of_member(constants, scope), of_member(weights, scope))
        report = Report(f"{source}, model", editable=False)
        model = cast(AnyModelConfig, AnyModelConfig.kind_of(section).read(section, report))
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
    for part in model.parts():
        if isinstance(part.config.sel, str):
            node = names.suffixed(names.SEL, part.scope)
            raise ModelFileError(
                f"{source}: {part.path.removeprefix('descriptor.')}sel is "
                f'"{part.config.sel}" and the node "{node}" is missing'
            )
    return model, script | {"model": model.to_dict()}


def _member_sections(source: str, section: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Scopes and sections of the members with nets in a script that has not been checked yet."""
    if section.get("type") == "pairwise_dprc":
        return [(scope, section[key]) for key, scope in PAIRWISE_MEMBERS.items()]
    if section.get("type") != "linear_ener":
        return [("", section)]
    members = list(enumerate(section["models"]))
    if any(member.get("type") == "frozen" for _, member in members):
        raise not_available(source, "a frozen model in it, whose weights DeePMD-kit does not name")
    return [(f"_model{i}", m) for i, m in members if m.get("type", "standard") == "standard"]


def _complete(
    model: dict[str, Any], constants: dict[str, np.ndarray], weights: dict[str, np.ndarray]
) -> None:
    """Give the section of a model what the file shows, in place of what it leaves open."""
    model.pop("compress", None)  # how the tables of the file were made
    # Scripts of models trained with "auto" may be stored as they were written.
    for scope, descriptor in AnyDescriptorConfig.sections(model["descriptor"]):
        sel = names.suffixed(names.SEL, scope)
        if isinstance(descriptor.get("sel"), str) and sel in constants:
            counts = constants[sel].tolist()
            virtual = int(constants.get(names.NTYPES_SPIN, 0))
            descriptor["sel"] = counts[: len(counts) - virtual]
    if names.DEFAULT_FPARAM in constants:
        default = constants[names.DEFAULT_FPARAM].tolist()
        model.setdefault("fitting_net", {})["default_fparam"] = default
    complete(model, weights, constants)
