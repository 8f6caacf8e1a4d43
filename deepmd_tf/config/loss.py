# SPDX-License-Identifier: BSD-3-Clause
"""The section ``loss``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import annotated_types
from pydantic import model_validator

from deepmd_tf.config.section import ELSEWHERE, LATER, Section, option
from deepmd_tf.config.values import Bool, Int, Number, Words

Delta = Annotated[Number, annotated_types.Gt(0)]
Deltas = Annotated[
    list[Delta],
    annotated_types.Len(3, 3),
    Words("a list of three such numbers, for energy, force, virial"),
]


def _start(default: float, what: str, *, later: bool = False):
    return option(default, ge=0, later=later, doc=f"Weight of the {what} at the start of training.")


def _limit(default: float, what: str, *, later: bool = False):
    return option(
        default,
        ge=0,
        later=later,
        doc=f"Weight of the {what} where the learning rate goes to zero.",
    )


class LossEner(Section):
    """Loss of an energy model: a weighted sum of squared errors.

    Each weight follows the learning rate, limit + (start − limit) · lr / start_lr. A term takes
    part if its start or its limit is not zero.
    """

    type_aliases: ClassVar[dict[str, str]] = {"ener_hess": "ener"}
    other_types: ClassVar[dict[str, str]] = {
        "ener_spin": LATER,
        "dos": LATER,
        "tensor": LATER,
        "dens": ELSEWHERE,
        "population": ELSEWHERE,
        "property": ELSEWHERE,
    }

    type: Literal["ener"] = option("ener", doc="What is fitted.")
    start_pref_e: Number = _start(0.02, "energy")
    limit_pref_e: Number = _limit(1.0, "energy")
    start_pref_f: Number = _start(1000.0, "force")
    limit_pref_f: Number = _limit(1.0, "force")
    start_pref_v: Number = _start(0.0, "virial")
    limit_pref_v: Number = _limit(0.0, "virial")
    start_pref_h: Number = _start(0.0, "Hessian", later=True)
    limit_pref_h: Number = _limit(0.0, "Hessian", later=True)
    start_pref_ae: Number = _start(0.0, "atomic energy", later=True)
    limit_pref_ae: Number = _limit(0.0, "atomic energy", later=True)
    start_pref_pf: Number = _start(0.0, "force weighted per atom", later=True)
    limit_pref_pf: Number = _limit(0.0, "force weighted per atom", later=True)
    use_default_pf: Bool = option(
        False, later=True, doc="Take 1 as the weight of every atom when atom_pref.npy is missing."
    )
    relative_f: Number | None = option(
        None,
        ge=0,
        unit="eV/Å",
        later=True,
        omit_none=True,
        doc="Divide the force error of an atom by the size of its force plus this number.",
    )
    enable_atom_ener_coeff: Bool = option(
        False,
        later=True,
        doc="Fit Σ c_i E_i with c from atom_ener_coeff.npy instead of the total energy.",
    )
    start_pref_gf: Number = _start(0.0, "generalised force", later=True)
    limit_pref_gf: Number = _limit(0.0, "generalised force", later=True)
    numb_generalized_coord: Int = option(
        0, ge=0, later=True, doc="Number of generalised coordinates in drdq.npy."
    )
    use_huber: Bool = option(
        False, later=True, doc="Huber loss: quadratic near zero, linear beyond."
    )
    loss_func: Literal["mse", "mae"] = option(
        "mse", later=True, doc="Measure of an error: mean square or mean absolute value."
    )
    f_use_norm: Bool = option(
        False,
        later=True,
        doc="Measure force errors by the length of the error vector of each atom.",
    )
    huber_delta: Delta | Deltas = option(
        0.01, doc="Where the Huber loss turns linear; a list is for energy, force and virial."
    )
    intensive_ener_virial: Bool = option(
        False,
        doc="Divide squared energy and virial errors by N² instead of N (N: atoms of the frame).",
    )

    @model_validator(mode="after")
    def _something_to_fit(self) -> LossEner:
        names = [f"{when}_pref_{term}" for term in "efv" for when in ("start", "limit")]
        if not any(getattr(self, name) for name in names):
            raise ValueError(
                "every weight is zero, so there is nothing to fit; "
                f"at least one of {', '.join(names)} must be larger"
            )
        return self
