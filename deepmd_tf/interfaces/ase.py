# SPDX-License-Identifier: BSD-3-Clause
"""A trained model as a calculator of the Atomic Simulation Environment (ASE)."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from deepmd_tf.data.open_directions import projector
from deepmd_tf.errors import InputError, optional_package
from deepmd_tf.inference import DeepDipole, DeepEval, DeepPot

with optional_package("ase"):
    from ase import Atoms
    from ase.calculators.calculator import (
        Calculator,
        PropertyNotImplementedError,
        all_changes,
    )
    from ase.stress import full_3x3_to_voigt_6_stress

log = logging.getLogger(__name__)

PARAMETERS = ("fparam", "aparam")
"""Keys of ``atoms.info``."""


class DP(Calculator):
    """Energies, forces and stresses of a trained model, in eV and Å.

    The object holds one TensorFlow session for its life; :meth:`close` or a ``with`` statement
    frees it. Atoms may be of other composition, number, cell and periodicity in each call: of
    surfaces and wires only the vectors of periodic directions matter. Frame and atomic parameters
    of models that have them are taken from ``atoms.info["fparam"]`` and ``atoms.info["aparam"]``.

    ================  ====================================================================
    ``energy``        eV
    ``free_energy``   the same
    ``energies``      contribution of each atom, eV; their sum is the energy
    ``forces``        eV/Å
    ``stress``        eV/Å³, Voigt order xx yy zz yz xz xy, positive under tension: minus
                      the symmetric part of the virial over the volume; with periodicity. If
                      that is in some directions only, P σ P with the projection P onto these,
                      and the volume is that of the cell as it is; none if that is zero
    ``stresses``      share of each atom, so that their sum is the stress; that of a pair
                      is given to the neighbour. As the stress
    ``dipole``        with a model of dipole moments, in the unit of its training data (ASE:
                      e Å); the sum over atoms
    ================  ====================================================================

    ASE has no name for the virial, so that it is no entry of ``results``: :meth:`get_virial`.

    Parameters
    ----------
    model
        Frozen graph or checkpoint, see :class:`~deepmd_tf.inference.DeepPot`.
    label
        Name of the calculator in ASE.
    type_dict
        Number of the type of each element; None: positions in the type map of the model.
    neighbor_list, head, nlist_backend
        Of DeePMD-kit's calculator, see :class:`~deepmd_tf.inference.DeepPot`.
    on_missing_neighbors
        What to do about neighbours beyond ``sel``, see :class:`~deepmd_tf.inference.DeepPot`.
    dipole
        Frozen graph or checkpoint of a model of dipole moments, which the calculator then has, too.
    **kwargs
        Further arguments of ``ase.calculators.calculator.Calculator``, such as ``atoms``.

    Raises
    ------
    ModelFileError
        When the file is no complete energy model.
    InputError
        In a calculation: for an element that the model does not know, and for what
        :meth:`DeepPot.eval` refuses.

    Examples
    --------
    >>> water.calc = DP("water.pb")
    >>> BFGS(water).run(fmax=0.01)
    """

    name = "DP"
    implemented_properties: ClassVar[list[str]] = [  # type: ignore[misc] # as ASE's own do
        "energy",
        "free_energy",
        "energies",
        "forces",
        "stress",
        "stresses",
    ]

    def __init__(
        self,
        model: str | os.PathLike[str],
        label: str = "DP",
        type_dict: Mapping[str, int] | None = None,
        neighbor_list: None = None,
        head: str | None = None,
        nlist_backend: str = "auto",
        *,
        on_missing_neighbors: str | None = None,
        dipole: str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> None:
        self._given: dict[str, np.ndarray | None] = {}
        self._virial = np.zeros((3, 3))
        self._told_open = False
        super().__init__(label=label, **kwargs)
        self.dp = DeepPot(
            model,
            neighbor_list=neighbor_list,
            on_missing_neighbors=on_missing_neighbors,
            head=head,
            nlist_backend=nlist_backend,
        )
        self.type_dict = _type_numbers(self.dp, type_dict)
        self.dipoles: DeepDipole | None = None
        if dipole is not None:
            self.dipoles = DeepDipole(dipole, on_missing_neighbors=on_missing_neighbors)
            self._types_of_dipoles = _type_numbers(self.dipoles, type_dict)
            self.implemented_properties = [  # type: ignore[misc] # as ASE's own do
                *type(self).implemented_properties,
                "dipole",
            ]

    def close(self) -> None:
        """Free the sessions; the calculator cannot be used afterwards."""
        self.dp.close()
        if self.dipoles is not None:
            self.dipoles.close()

    def __enter__(self) -> DP:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """Changes since the last calculation, parameters in ``atoms.info`` included."""
        changes = super().check_state(atoms, tol=tol)
        for key, old in self._given.items():
            new = atoms.info.get(key)
            same = new is old or (
                new is not None and old is not None and np.array_equal(np.asarray(new), old)
            )
            if not same:
                changes.append("info")
        return changes

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Compute what is asked for, and what comes for free; called by ASE."""
        super().calculate(atoms, properties, system_changes)
        atoms = self.atoms
        if atoms is None:
            raise InputError("DP: calculate needs atoms")
        coords, cells, types, parameters = self._frame(atoms, self.type_dict)
        for name in ("stress", "stresses"):
            if name in properties and cells is None:
                raise PropertyNotImplementedError(f"{name}: the system has no periodicity")
            if name in properties:
                self._tell_open(atoms)
        atomic = bool({"energies", "stresses"} & set(properties))
        energy, force, virial, *rest = self.dp.eval(
            coords, cells, types, atomic=atomic, **parameters
        )
        copied = {key: atoms.info.get(key) for key in PARAMETERS}
        self._given = {k: None if v is None else np.array(v) for k, v in copied.items()}
        self.results = {
            "energy": float(energy[0, 0]),
            "free_energy": float(energy[0, 0]),
            "forces": force[0],
        }
        if self.dipoles is not None:
            coords, cells, types, _ = self._frame(atoms, self._types_of_dipoles)
            found = self.dipoles.eval(coords, cells, types, atomic=False, pbc=atoms.pbc)
            self.results["dipole"] = found[0]
        self._virial = virial[0].reshape(3, 3)
        stressed = cells is not None and atoms.cell.rank == 3
        if stressed:
            self.results["stress"] = _stress(virial[0], atoms)
        if atomic:
            self.results["energies"] = rest[0][0, :, 0]
            if stressed:
                self.results["stresses"] = _stress(rest[1][0], atoms)

    def get_virial(self, atoms: Atoms | None = None) -> np.ndarray:
        """Minus the derivative of the energy by the strain, [3, 3], eV; also without periodicity.

        Parameters
        ----------
        atoms
            The structure; None: that of the last calculation.

        Raises
        ------
        InputError
            As a calculation.
        """
        self.get_property("energy", atoms)
        return self._virial.copy()

    def get_hessian(
        self, atoms: Atoms | None = None, indices: ArrayLike | None = None, progress: bool = False
    ) -> np.ndarray:
        """Second derivatives of the energy with respect to the positions.

        ``ase.vibrations.VibrationsData.from_2d(atoms, hessian, indices)`` makes vibrations of them.

        Parameters
        ----------
        atoms
            The structure; None: that of the last calculation.
        indices
            Atoms that move while the others are fixed; None: all.
        progress
            Whether to show a progress bar on a terminal.

        Returns
        -------
        np.ndarray
            [3 n, 3 n] or [3 k, 3 k], eV/Å², rows and columns (atom, xyz), exactly symmetric: the
            mean of what :meth:`DeepPot.eval_hessian` computes and its transpose.

        Raises
        ------
        InputError
            As a calculation; also when there is no structure.
        ModelFileError
            When the model has no second derivatives, as compressed ones.
        """
        atoms = self.atoms if atoms is None else atoms
        if atoms is None:
            raise InputError("get_hessian: give the atoms")
        coords, cells, types, parameters = self._frame(atoms, self.type_dict)
        hessian = self.dp.eval_hessian(
            coords, cells, types, atoms=indices, progress=progress, **parameters
        )[0]
        return (hessian + hessian.T) / 2

    def get_force_constants(
        self, atoms: Atoms, indices: ArrayLike, progress: bool = False
    ) -> np.ndarray:
        """Second derivatives Φ_ij = ∂²E/∂r_i∂r_j for some atoms i and all atoms j.

        With the atoms of one unit cell of a supercell these are the force constants of the crystal,
        at the cost of 3k products instead of 3n.

        Parameters
        ----------
        atoms
            The structure.
        indices
            The k atoms i.
        progress
            Whether to show a progress bar on a terminal.

        Returns
        -------
        np.ndarray
            [k, n, 3, 3], eV/Å², as computed: what rounding does to Φ_ij = Φ_jiᵀ is left in.

        Raises
        ------
        InputError, ModelFileError
            As :meth:`get_hessian`.
        """
        coords, cells, types, parameters = self._frame(atoms, self.type_dict)
        chosen = np.atleast_1d(np.asarray(indices, dtype=np.int64))
        units = np.zeros((len(chosen), 3, len(atoms), 3))
        for axis in range(3):
            units[np.arange(len(chosen)), axis, chosen, axis] = 1
        found = self.dp.eval_hessian_vector(
            coords, cells, types, units.reshape(-1, len(atoms), 3), progress=progress, **parameters
        )[0]
        return found.reshape(len(chosen), 3, len(atoms), 3).swapaxes(1, 2)

    def _tell_open(self, atoms: Atoms) -> None:
        """What a stress is where some directions are open; once."""
        if atoms.pbc.all():
            return
        if atoms.cell.rank < 3:
            raise PropertyNotImplementedError(
                f"stress: the cell has no volume (pbc {atoms.pbc.tolist()}); give it a vector in "
                "open directions too, to say to which volume the stress belongs"
            )
        if not self._told_open:
            self._told_open = True
            log.warning(
                "pbc is %s: the stress is that of the periodic directions, zero in the open ones, "
                "over the volume of the cell as it is",
                atoms.pbc.tolist(),
            )

    def _frame(
        self, atoms: Atoms, type_dict: Mapping[str, int]
    ) -> tuple[np.ndarray, np.ndarray | None, list[int], dict[str, Any]]:
        """Arguments of :class:`DeepPot`: coordinates, cell or None, types, further arguments."""
        symbols = atoms.get_chemical_symbols()
        for number, symbol in enumerate(symbols):
            if symbol not in type_dict:
                known = ", ".join(type_dict) or "none; give type_dict"
                near = get_close_matches(symbol.lower(), map(str.lower, type_dict), 3, 0.5)
                meant = [name for name in type_dict if name.lower() in near]
                hint = f" (nearest: {', '.join(meant)})" if meant else ""
                raise InputError(
                    f"atom {number} is {symbol}, which the model does not know; its elements: "
                    f"{known}{hint}"
                )
        types = [type_dict[symbol] for symbol in symbols]
        cells = atoms.cell.array.reshape(1, 9) if atoms.pbc.any() else None
        parameters = {key: atoms.info[key] for key in PARAMETERS if key in atoms.info}
        parameters["pbc"] = atoms.pbc
        return atoms.get_positions()[None], cells, types, parameters


def _type_numbers(model: DeepEval, given: Mapping[str, int] | None) -> dict[str, int]:
    """Number of the type of each element, as it was given or by the type map of a model."""
    if given is not None:
        return dict(given)
    return {name: i for i, name in enumerate(model.get_type_map())}


def _stress(virials: np.ndarray, atoms: Atoms) -> np.ndarray:
    """Of virials [..., 9], [..., 6]."""
    matrix = virials.reshape(*virials.shape[:-1], 3, 3)
    if not atoms.pbc.all():
        onto = projector(atoms.cell.array, atoms.pbc)
        matrix = onto @ matrix @ onto
    twice = matrix + np.swapaxes(matrix, -1, -2)
    return full_3x3_to_voigt_6_stress(-twice / (2 * atoms.get_volume()))
