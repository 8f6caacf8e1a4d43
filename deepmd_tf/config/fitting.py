# SPDX-License-Identifier: BSD-3-Clause
"""The section ``fitting_net``, of which there are several kinds."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import ValidationInfo, field_validator

from deepmd_tf import units
from deepmd_tf.config.section import ELSEWHERE, Kinds, Registry, option
from deepmd_tf.config.values import (
    Activation,
    Bool,
    HiddenLayers,
    Int,
    Number,
    Precision,
    Text,
    one_per_type,
)


class FittingConfig(Kinds):
    """The section ``fitting_net``: from the features of an atom to what is predicted.

    The kind is chosen by ``type``; :meth:`register` adds one. Keys here are those of every kind.
    """

    registered: ClassVar[Registry] = {}
    other_types: ClassVar[dict[str, str]] = {
        **dict.fromkeys(("property", "population", "dpa4_ener", "sezm_ener"), ELSEWHERE),
    }

    type: str = option("ener", doc="What is fitted.")
    numb_fparam: Int = option(
        0, ge=0, doc="Number of parameters of a frame (fparam.npy), which enter the net."
    )
    numb_aparam: Int = option(
        0, ge=0, doc="Number of parameters of each atom (aparam.npy), which enter the net."
    )
    default_fparam: list[Number] | None = option(
        None,
        doc="Frame parameters of systems that have no fparam.npy, and of callers that give none; "
        "numb_fparam numbers. Programs of DeePMD-kit do not know it.",
    )
    dim_case_embd: Int = option(0, ge=0, later=True, doc="Width of the embedding of data sets.")
    neuron: HiddenLayers = option(
        [120, 120, 120],
        aliases=("n_neuron",),
        doc="Widths of the hidden layers; without any, energies are linear in the features.",
    )
    activation_function: Activation = option(
        "tanh", doc="Activation function of the hidden layers."
    )
    precision: Precision = option(
        "default", doc="Precision of the net; default: that of the interface."
    )
    resnet_dt: Bool = option(True, doc="A learnt step in the layers that have a skip connection.")

    @property
    def width(self) -> int:
        """Numbers that an atom has."""
        return 1

    @property
    def net_aparam(self) -> int:
        """Number of parameters of an atom that enter the net."""
        return self.numb_aparam

    @field_validator("default_fparam")
    @classmethod
    def _one_per_parameter(
        cls, value: list[float] | None, info: ValidationInfo
    ) -> list[float] | None:
        expected = info.data.get("numb_fparam")
        if value is not None and expected is not None and len(value) != expected:
            raise ValueError(f"has length {len(value)}; expected {expected}, which is numb_fparam")
        return value


def seed_option() -> Any:
    """The key ``seed`` of a section of nets."""
    return option(None, omit_none=True, doc="Seed of the initial weights; none: random.")


def one_per_layer(value: Any, info: ValidationInfo) -> Any:
    """Checks a list with an entry for each layer of a net, the last one included."""
    if isinstance(value, list) and "neuron" in info.data:
        layers = len(info.data["neuron"]) + 1
        if len(value) != layers:
            raise ValueError(
                f"has length {len(value)}; expected {layers}, one per entry of neuron and one for "
                "the last layer"
            )
    return value


@FittingConfig.register
class FittingEner(FittingConfig):
    """Net from the features of an atom to its energy, one per type of atom."""

    type: Literal["ener"] = option("ener", doc="What is fitted.")
    trainable: Bool | list[Bool] = option(
        True,
        doc="Whether training changes the net; a list has one entry per hidden layer and one for "
        "the last.",
    )
    rcond: Number | None = option(
        None,
        ge=0,
        doc="Relative size below which singular values are dropped when the energy bias is found.",
    )
    seed: Int | None = seed_option()
    atom_ener: list[Number | None] = option(
        [],
        unit=units.ENERGY,
        doc="Energy of a lone atom of each type; null: found from the data. The energy of such an "
        "atom in "
        "vacuum is then exact, if set_davg_zero is set.",
    )
    layer_name: list[Text | None] | None = option(
        None,
        omit_none=True,
        doc="Names of the layers, one per hidden layer and one for the last; layers of a net that "
        "have the same name share their weights. null: not shared.",
    )
    use_aparam_as_mask: Bool = option(
        False,
        doc="Atomic parameters are left out of the net. The descriptor se_a_mask takes them for "
        "the mask of atoms, and needs this; with other descriptors they then change nothing.",
    )

    @property
    def net_aparam(self) -> int:
        """Number of parameters of an atom that enter the net."""
        return 0 if self.use_aparam_as_mask else self.numb_aparam

    _one_per_layer = field_validator("trainable", "layer_name")(one_per_layer)

    @field_validator("atom_ener")
    @classmethod
    def _one_per_type(cls, value: list[float | None], info: ValidationInfo) -> list[float | None]:
        return one_per_type(value, info) if value else value
