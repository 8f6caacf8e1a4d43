# SPDX-License-Identifier: BSD-3-Clause
"""The section ``loss``."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import annotated_types
from pydantic import PlainValidator, ValidationInfo, field_validator, model_validator

from deepmd_tf.config.hessian_mode import FORMS, HessianMode
from deepmd_tf.config.section import ELSEWHERE, Foreign, Kinds, Registry, option
from deepmd_tf.config.values import Bool, Int, Number, Words

Prefactor = Annotated[Number, annotated_types.Ge(0)]
Delta = Annotated[Number, annotated_types.Gt(0)]
Deltas = Annotated[
    list[Delta],
    annotated_types.Len(3, 3),
    Words("a list of three such numbers, for energy, force, virial"),
]


TERMS = ("e", "f", "v", "h", "ae", "pf", "gf", "de")
"""Terms of the loss, by the suffix of their prefactors."""
SPIN_TERMS = ("e", "fr", "fm", "v", "ae")
"""The same of the loss of a model with spins."""
_UNUSED = "DeePMD-kit has the key for this loss, but does not use it with TensorFlow"
DOS_TERMS = ("dos", "cdf", "ados", "acdf")
"""Those of the loss of densities of states."""


def _start(default: float, what: str) -> Any:
    return option(default, ge=0, doc=f"Weight of the {what} at the start of training.")


def _limit(default: float, what: str) -> Any:
    return option(default, ge=0, doc=f"Weight of the {what} where the learning rate goes to zero.")


def _mode(value: Any) -> Any:
    HessianMode.parse(value)
    return value


Mode = Annotated[str, PlainValidator(_mode), Words(FORMS)]


class LossConfig(Kinds):
    """The section ``loss``: what is minimised.

    The kind is chosen by ``type``; :meth:`register` adds one.
    """

    registered: ClassVar[Registry] = {}
    other_types: ClassVar[dict[str, str]] = {
        "dens": ELSEWHERE,
        "population": ELSEWHERE,
        "property": ELSEWHERE,
    }

    type: str = option("ener", doc="What is fitted.")


@LossConfig.register
class LossEner(LossConfig):
    """Loss of an energy model: a weighted sum of errors, each measured as ``loss_func`` says.

    Each weight follows the learning rate, limit + (start − limit) · lr / start_lr. A term takes
    part if its start or its limit is not zero, in those systems that have its labels.
    """

    type_aliases: ClassVar[dict[str, str]] = {"ener_hess": "ener"}

    type: Literal["ener"] = option("ener", doc="What is fitted.")
    start_pref_e: Number = _start(0.02, "energy")
    limit_pref_e: Number = _limit(1.0, "energy")
    start_pref_f: Number = _start(1000.0, "force")
    limit_pref_f: Number = _limit(1.0, "force")
    start_pref_v: Number = _start(0.0, "virial")
    limit_pref_v: Number = _limit(0.0, "virial")
    start_pref_h: Number = _start(0.0, "Hessian (hessian.npy)")
    limit_pref_h: Number = _limit(0.0, "Hessian")
    start_pref_ae: Number = _start(0.0, "energy of each atom (atom_ener.npy)")
    limit_pref_ae: Number = _limit(0.0, "energy of each atom")
    start_pref_pf: Number = _start(0.0, "force weighted per atom (atom_pref.npy)")
    limit_pref_pf: Number = _limit(0.0, "force weighted per atom")
    start_pref_gf: Number = _start(0.0, "generalised force (drdq.npy)")
    limit_pref_gf: Number = _limit(0.0, "generalised force")
    start_pref_de: Prefactor | None = option(
        None,
        omit_none=True,
        stored=False,
        doc="Weight, at the start of training, of the differences of energies between the frames "
        "of a batch. Null is 0. DeePMD-kit does not have this key.",
    )
    limit_pref_de: Prefactor | None = option(
        None,
        omit_none=True,
        stored=False,
        doc="The same where the learning rate goes to zero.",
    )
    hessian_mode: Mode = option(
        "auto",
        ours=True,
        stored=False,
        doc="How much of each Hessian a training step looks at: the whole matrix, an unbiased "
        "estimate of the same loss from k products with random vectors (mean squares only), or k "
        "random columns. auto is full for small systems. DeePMD-kit does not have this key.",
    )
    loss_func: Literal["mse", "mae"] = option(
        "mse", doc="Measure of an error: mean square or mean absolute value."
    )
    use_huber: Bool = option(
        False,
        doc="Huber loss: half the square of an error up to huber_delta, linear beyond. Energies "
        "and virials are divided by the number of atoms first.",
    )
    huber_delta: Delta | Deltas = option(
        0.01,
        doc="Where the Huber loss turns linear, in eV or eV/Å; a list is for energies, forces and "
        "virials. The number for forces is that for Hessians, in eV/Å².",
    )
    f_use_norm: Bool = option(
        False,
        doc="Measure the error of a force by the length of its vector, instead of component by "
        "component; with mae or use_huber.",
    )
    intensive_ener_virial: Bool = option(
        False,
        doc="Divide squared energy and virial errors by N² instead of N (N: atoms of the frame). "
        "Absolute ones are divided by N in both cases.",
    )
    use_default_pf: Bool = option(
        False, doc="Take 1 as the weight of every atom where atom_pref.npy is missing."
    )
    relative_f: Number | None = option(
        None,
        gt=0,
        unit="eV/Å",
        omit_none=True,
        doc="Divide the force error of an atom by the size of its force plus this number.",
    )
    enable_atom_ener_coeff: Bool = option(
        False,
        doc="Fit Σ c_i E_i with c from atom_ener_coeff.npy (1 where it is missing) instead of the "
        "total energy.",
    )
    numb_generalized_coord: Int = option(
        0, ge=0, doc="Number of generalised coordinates in drdq.npy."
    )

    @property
    def huber_deltas(self) -> tuple[float, float, float]:
        """δ of energies (eV), of forces (eV/Å) and of virials (eV)."""
        delta = self.huber_delta
        energy, force, virial = delta if isinstance(delta, list) else [delta] * 3
        return energy, force, virial

    @field_validator("use_huber")
    @classmethod
    def _one_measure(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("loss_func") == "mae":
            raise ValueError(
                'loss_func is "mae", which is linear everywhere; give only one of them'
            )
        return value

    @field_validator("f_use_norm")
    @classmethod
    def _norm_makes_a_difference(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("loss_func") == "mse" and info.data.get("use_huber") is False:
            raise ValueError(
                "the mean square is the same for components and for vectors; remove it, or set "
                'loss_func to "mae" or use_huber to true'
            )
        return _only_with(value, info, "f")

    @field_validator("use_default_pf")
    @classmethod
    def _default_pf_is_used(cls, value: bool, info: ValidationInfo) -> bool:
        return _only_with(value, info, "pf")

    @field_validator("relative_f")
    @classmethod
    def _relative_f_is_used(cls, value: float | None, info: ValidationInfo) -> float | None:
        return _only_with(value, info, "f", "pf")

    @field_validator("enable_atom_ener_coeff")
    @classmethod
    def _coefficients_are_used(cls, value: bool, info: ValidationInfo) -> bool:
        return _only_with(value, info, "e", "de")

    @field_validator("numb_generalized_coord")
    @classmethod
    def _coordinates_are_there(cls, value: int, info: ValidationInfo) -> int:
        if value == 0 and any(info.data.get(key) for key in _prefactors("gf")):
            raise ValueError(
                "start_pref_gf or limit_pref_gf is not 0, so the number of generalised coordinates "
                "in drdq.npy is needed, an integer ≥ 1"
            )
        return value

    @model_validator(mode="after")
    def _hessian_mode_fits(self) -> LossEner:
        if self.hessian_mode == "auto":
            return self
        if not any(getattr(self, name) for name in _prefactors("h")):
            raise ValueError(
                f'hessian_mode "{self.hessian_mode}" has no effect, because '
                f"{', '.join(_prefactors('h'))} are 0; remove it, or set one of them"
            )
        if self.hessian_mode.startswith("probe") and (self.loss_func == "mae" or self.use_huber):
            other = "use_huber" if self.use_huber else 'loss_func "mae"'
            raise ValueError(
                f'hessian_mode "{self.hessian_mode}" estimates a mean of squares, which {other} is '
                'not; take "full" or "columns:k"'
            )
        return self

    @model_validator(mode="after")
    def _something_to_fit(self) -> LossEner:
        _require_a_weight(self, TERMS)
        return self


@LossConfig.register
class LossEnerSpin(LossConfig):
    """Loss of an energy model with spins (model/spin): a weighted sum of mean square errors, with
    the forces on atoms and those on spins apart.

    Each weight follows the learning rate, limit + (start − limit) · lr / start_lr. Both kinds of
    forces are in force.npy, those on spins in the places of their virtual atoms.
    """

    refused: ClassVar[dict[str, Foreign]] = {
        "start_pref_pf": Foreign(0.0, _UNUSED),
        "limit_pref_pf": Foreign(0.0, _UNUSED),
        "relative_f": Foreign(None, _UNUSED),
        "loss_func": Foreign("mse", f"a measure other than the mean square is {ELSEWHERE}"),
    }

    type: Literal["ener_spin"] = option("ener_spin", doc="What is fitted.")
    start_pref_e: Number = _start(0.02, "energy")
    limit_pref_e: Number = _limit(1.0, "energy")
    start_pref_fr: Number = _start(1000.0, "force on atoms")
    limit_pref_fr: Number = _limit(1.0, "force on atoms")
    start_pref_fm: Number = _start(10000.0, "force on spins")
    limit_pref_fm: Number = _limit(10.0, "force on spins")
    start_pref_v: Number = _start(0.0, "virial")
    limit_pref_v: Number = _limit(0.0, "virial")
    start_pref_ae: Number = _start(0.0, "energy of each atom (atom_ener.npy)")
    limit_pref_ae: Number = _limit(0.0, "energy of each atom")
    intensive_ener_virial: Bool = option(
        False,
        doc="Divide squared energy and virial errors by N² instead of N (N: atoms of the frame, "
        "virtual ones included).",
    )
    enable_atom_ener_coeff: Bool = option(
        False,
        doc="Fit Σ c_i E_i with c from atom_ener_coeff.npy (1 where it is missing) instead of the "
        "total energy.",
    )

    @field_validator("enable_atom_ener_coeff")
    @classmethod
    def _coefficients_are_used(cls, value: bool, info: ValidationInfo) -> bool:
        return _only_with(value, info, "e")

    @model_validator(mode="after")
    def _something_to_fit(self) -> LossEnerSpin:
        _require_a_weight(self, SPIN_TERMS)
        return self


@LossConfig.register
class LossTensor(LossConfig):
    """Loss of a model of dipole moments or polarisabilities: mean squares of the errors of frames,
    divided by the number of atoms in sel_type, and of atoms, each with a constant weight.
    """

    type: Literal["tensor"] = option("tensor", doc="What is fitted.")
    pref: Number = option(
        ge=0, doc="Weight of the tensor of a frame (dipole.npy or polarizability.npy)."
    )
    pref_atomic: Number = option(
        ge=0,
        doc="Weight of the tensors of atoms (atomic_dipole.npy or atomic_polarizability.npy).",
    )
    enable_atomic_weight: Bool = option(
        False,
        doc="Multiply the error of each atom by its number in atomic_weight.npy (1 where it is "
        "missing).",
    )

    @model_validator(mode="after")
    def _something_to_fit(self) -> LossTensor:
        if not (self.pref or self.pref_atomic):
            raise ValueError(
                "pref and pref_atomic are zero, so there is nothing to fit; at least one of them "
                "must be larger"
            )
        if self.enable_atomic_weight and not self.pref_atomic:
            raise ValueError(
                "enable_atomic_weight has no effect, because pref_atomic is 0; remove it, or set "
                "pref_atomic"
            )
        return self


@LossConfig.register
class LossDos(LossConfig):
    """Loss of a model of densities of states: a weighted sum of mean squares of errors of the
    density and of its running sum over the grid (cdf), of frames and of atoms.

    Each weight follows the learning rate, limit + (start − limit) · lr / start_lr. A term takes
    part if its start or its limit is not zero, in those systems that have its labels.
    """

    type: Literal["dos"] = option("dos", doc="What is fitted.")
    start_pref_dos: Number = _start(0.0, "density of states (dos.npy)")
    limit_pref_dos: Number = _limit(0.0, "density of states")
    start_pref_cdf: Number = _start(0.0, "running sum of the density of states")
    limit_pref_cdf: Number = _limit(0.0, "running sum of the density of states")
    start_pref_ados: Number = _start(1.0, "density of states of each atom (atom_dos.npy)")
    limit_pref_ados: Number = _limit(1.0, "density of states of each atom")
    start_pref_acdf: Number = _start(0.0, "running sum of the density of states of each atom")
    limit_pref_acdf: Number = _limit(0.0, "running sum of the density of states of each atom")

    @model_validator(mode="after")
    def _something_to_fit(self) -> LossDos:
        _require_a_weight(self, DOS_TERMS)
        return self


def _prefactors(*terms: str) -> list[str]:
    """Keys of the prefactors of some terms."""
    return [f"{when}_pref_{term}" for term in terms for when in ("start", "limit")]


def _require_a_weight(loss: LossConfig, terms: tuple[str, ...]) -> None:
    names = _prefactors(*terms)
    if not any(getattr(loss, name) for name in names):
        raise ValueError(
            "every weight is zero, so there is nothing to fit; "
            f"at least one of {', '.join(names)} must be larger"
        )


def _only_with(value: Any, info: ValidationInfo, *terms: str) -> Any:
    """``value``, which has an effect only where one of these terms exists."""
    # a prefactor that is wrong itself is not there
    if value in (None, False) or any(info.data.get(key, 1.0) for key in _prefactors(*terms)):
        return value
    raise ValueError(
        f"has no effect, because {', '.join(_prefactors(*terms))} are 0; remove it, or set one of "
        "them"
    )
