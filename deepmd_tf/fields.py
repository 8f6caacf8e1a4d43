# SPDX-License-Identifier: BSD-3-Clause
"""Items of a data set: one record per item, with its file, shape, unit and default.

Loaders, losses, tests and the reference pages read these records; an array name, a file name or
a unit is written nowhere else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, NamedTuple

from deepmd_tf import units

Kind = Literal["frame", "atom", "hessian"]


class Numbers(NamedTuple):
    """What may be in a file.

    Attributes
    ----------
    high_precision
        float64, whatever the interface precision is.
    integer
        The numbers are counts, loaded as int64.
    minimum
        Smallest number that has a meaning; None: all have.
    symmetric
        Whether those of a frame or an atom are a symmetric matrix.
    """

    high_precision: bool = False
    integer: bool = False
    minimum: float | None = None
    symmetric: bool = False


REAL = Numbers()
"""Any numbers, in the precision of the interface."""


@dataclasses.dataclass(frozen=True)
class Field:
    """One item of a data set, stored as ``set.*/<name>.npy``.

    Attributes
    ----------
    name
        Key of the array in a batch, and name of the file without ``.npy``.
    kind
        ``"frame"``: `dof` numbers per frame; ``"atom"``: `dof` numbers per atom, atoms in the order
        of ``type.raw``; ``"hessian"``: a full (3N, 3N) matrix per frame.
    dof
        Numbers per frame or per atom, as above (not used for ``"hessian"``).
    unit
        Unit of the numbers.
    doc
        Meaning and sign convention, one sentence.
    required
        Whether a set without the file is an error.
    default
        What fills the array where there is no file (``find_<name>`` is 0 then): one number, or one
        for each of the `dof` numbers of a frame.
    numbers
        What numbers they are.
    repeat
        How often each number is repeated in a batch: a weight per atom becomes one per component.
    aliases
        Other file names, tried when ``<name>.npy`` does not exist.
    types
        Types of the atoms that have it, of an item of atoms; those of other types have zeros in a
        batch, and the file may leave them out. None: all.
    any_dof
        Whether `dof` is another number in other data sets.
    """

    name: str
    kind: Kind
    dof: int
    unit: str
    doc: str
    required: bool = False
    default: float | tuple[float, ...] = 0.0
    numbers: Numbers = REAL
    repeat: int = 1
    aliases: tuple[str, ...] = ()
    types: tuple[int, ...] | None = None
    any_dof: bool = False

    @property
    def find_key(self) -> str:
        """Key of the flag in a batch that tells whether there is a file (1) or the default (0)."""
        return f"find_{self.name}"

    @property
    def stems(self) -> tuple[str, ...]:
        """File names to look for in a set, without ``.npy``, in order of preference."""
        return (self.name, *self.aliases)

    def stored_width(self, natoms: int) -> int:
        """Numbers per frame in the file of a system of `natoms` atoms."""
        if self.kind == "hessian":
            return 9 * natoms * natoms
        return self.dof * natoms if self.kind == "atom" else self.dof

    def width(self, natoms: int) -> int:
        """Numbers per frame in a batch of a system of `natoms` atoms."""
        return self.stored_width(natoms) * self.repeat

    def explain_width(self, natoms: int) -> str:
        """How :meth:`stored_width` comes about, for messages."""
        if self.kind == "hessian":
            return f"(3 x {natoms} atoms) squared"
        return f"{self.dof} x {natoms} atoms" if self.kind == "atom" else f"{self.dof} per frame"

    def require(self) -> Field:
        """The same item, but a set without it is an error."""
        return dataclasses.replace(self, required=True)

    def with_dof(self, dof: int) -> Field:
        """The same item with another number of components, as ``fparam`` and ``aparam`` need it."""
        return dataclasses.replace(self, dof=dof)

    def of_types(self, types: Sequence[int]) -> Field:
        """The same item of atoms of these types only."""
        return dataclasses.replace(self, types=tuple(types))

    def with_default(self, default: Sequence[float]) -> Field:
        """The same item of a frame, with these numbers where there is no file."""
        return dataclasses.replace(self, dof=len(default), default=tuple(map(float, default)))


COORD = Field(
    "coord", "atom", 3, units.LENGTH, "Cartesian coordinates x, y, z of each atom.", required=True
)
BOX = Field(
    "box",
    "frame",
    9,
    units.LENGTH,
    "Lattice vectors as the rows of a 3 x 3 matrix, row-major; only periodic systems have one.",
)
NUMB_COPY = Field(
    "numb_copy",
    "frame",
    1,
    units.DIMENSIONLESS,
    "How often a frame is used in one pass over its set.",
    default=1,
    numbers=Numbers(integer=True),
)
ENERGY = Field(
    "energy",
    "frame",
    1,
    units.ENERGY,
    "Potential energy of the frame.",
    numbers=Numbers(high_precision=True),
)
FORCE = Field(
    "force", "atom", 3, units.FORCE, "Force on each atom: minus the gradient of the energy."
)
VIRIAL = Field(
    "virial",
    "frame",
    9,
    units.VIRIAL,
    "Virial xx xy xz yx yy yz zx zy zz: minus the derivative of the energy with respect to the "
    "strain.",
)
ATOM_ENER = Field(
    "atom_ener", "atom", 1, units.ENERGY, "Energy of each atom.", aliases=("atomic_ener",)
)
ATOM_PREF = Field(
    "atom_pref",
    "atom",
    1,
    units.DIMENSIONLESS,
    "Weight of each atom in the prefactor force loss, the same for x, y and z.",
    repeat=3,
    aliases=("atomic_pref",),
    numbers=Numbers(minimum=0.0),
)
ATOM_ENER_COEFF = Field(
    "atom_ener_coeff",
    "atom",
    1,
    units.DIMENSIONLESS,
    "Coefficients c of the energy E = sum of c_i E_i that is fitted in place of the total energy.",
    default=1.0,
    aliases=("atomic_ener_coeff",),
)
DRDQ = Field(
    "drdq",
    "atom",
    3,
    "Å per unit of q",
    "Derivative of the coordinates by n generalised coordinates q, index (atom, xyz, q); "
    "3n numbers per atom.",
    any_dof=True,
)
HESSIAN = Field(
    "hessian",
    "hessian",
    9,
    units.HESSIAN,
    "Second derivatives of the energy, the full matrix (atom, xyz) x (atom, xyz), row-major.",
)
DIPOLE = Field(
    "dipole", "frame", 3, units.LABEL, "Dipole moment of the frame, the sum of those of its atoms."
)
ATOMIC_DIPOLE = Field(
    "atomic_dipole",
    "atom",
    3,
    units.LABEL,
    "Dipole moment of each atom, of all atoms or of those in sel_type only.",
    aliases=("atom_dipole",),
)
POLARIZABILITY = Field(
    "polarizability",
    "frame",
    9,
    units.LABEL,
    "Polarisability xx xy xz yx yy yz zx zy zz of the frame, the sum of those of its atoms.",
    numbers=Numbers(symmetric=True),
)
ATOMIC_POLARIZABILITY = Field(
    "atomic_polarizability",
    "atom",
    9,
    units.LABEL,
    "Polarisability of each atom, of all atoms or of those in sel_type only.",
    aliases=("atom_polarizability",),
    numbers=Numbers(symmetric=True),
)
ATOMIC_WEIGHT = Field(
    "atomic_weight",
    "atom",
    1,
    units.DIMENSIONLESS,
    "Factor of the error of the tensor of each atom, of all atoms or of those in sel_type only.",
    default=1.0,
    aliases=("atom_weight",),
)
DOS = Field(
    "dos",
    "frame",
    1,
    units.DOS,
    "Density of states of the frame on a grid of numb_dos energies, the same for all frames.",
    numbers=Numbers(high_precision=True),
    any_dof=True,
)
ATOM_DOS = Field(
    "atom_dos",
    "atom",
    1,
    units.DOS,
    "The same projected on each atom; numb_dos numbers per atom.",
    numbers=Numbers(high_precision=True),
    aliases=("atomic_dos",),
    any_dof=True,
)
FPARAM = Field("fparam", "frame", 1, units.DIMENSIONLESS, "Parameters of the frame.", any_dof=True)
APARAM = Field("aparam", "atom", 1, units.DIMENSIONLESS, "Parameters of each atom.", any_dof=True)
MASK = dataclasses.replace(APARAM, doc="1, or 0 for an atom that is not there.", required=True)
""":data:`APARAM` where it is the mask of atoms."""
FRAGMENTS = dataclasses.replace(
    APARAM, doc="Number of the fragment of an atom; -1: it takes no part.", required=True
)
""":data:`APARAM` where it says which fragment an atom belongs to."""

FIELDS: dict[str, Field] = {
    field.name: field
    for field in (
        COORD,
        BOX,
        NUMB_COPY,
        ENERGY,
        FORCE,
        VIRIAL,
        ATOM_ENER,
        ATOM_PREF,
        ATOM_ENER_COEFF,
        DRDQ,
        HESSIAN,
        DIPOLE,
        ATOMIC_DIPOLE,
        POLARIZABILITY,
        ATOMIC_POLARIZABILITY,
        ATOMIC_WEIGHT,
        DOS,
        ATOM_DOS,
        FPARAM,
        APARAM,
    )
}
"""Every known item by name."""

TENSORS: dict[str, tuple[Field, Field]] = {
    "dipole": (DIPOLE, ATOMIC_DIPOLE),
    "polar": (POLARIZABILITY, ATOMIC_POLARIZABILITY),
}
"""Tensors of frames and of atoms, by the ``type`` of the fitting net."""
OF_SELECTED = (*(of_atoms for _, of_atoms in TENSORS.values()), ATOMIC_WEIGHT)
"""Items of atoms that a file may have of some types of atoms only."""


class ParameterInputs(NamedTuple):
    """Frame and atomic parameters that a model takes.

    Attributes
    ----------
    dim_fparam, dim_aparam
        Numbers of them for a frame and for an atom.
    default_fparam, default_aparam
        What every frame or atom has when none are given; None: they must be given.
    masked_atoms
        Number of atoms of each type in every frame, where the atomic parameter is the mask of
        atoms; None: it is not.
    """

    dim_fparam: int = 0
    dim_aparam: int = 0
    default_fparam: Sequence[float] | None = None
    default_aparam: Sequence[float] | None = None
    masked_atoms: Sequence[int] | None = None


NO_PARAMETERS = ParameterInputs()


def model_inputs(
    dim_fparam: int,
    dim_aparam: int,
    default_fparam: Sequence[float] | None = None,
    mask: bool = False,
) -> tuple[Field, ...]:
    """Items that a model with these frame and atomic parameters takes from a data set.

    Both are required, but a frame without parameters has ``default_fparam``, if it is given.
    ``mask`` says that the atomic parameter is the mask of atoms.
    """
    items = []
    if dim_fparam and default_fparam is not None:
        items.append(FPARAM.with_default(default_fparam))
    elif dim_fparam:
        items.append(FPARAM.with_dof(dim_fparam).require())
    if dim_aparam:
        items.append(MASK if mask else APARAM.with_dof(dim_aparam).require())
    return tuple(items)
