# SPDX-License-Identifier: BSD-3-Clause
"""Frames of a caller, checked and brought to standard shapes. NumPy only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from deepmd_tf.data.batch import VIRTUAL
from deepmd_tf.data.open_directions import FAR, closed
from deepmd_tf.data.types import numbers_of_atoms
from deepmd_tf.errors import InputError
from deepmd_tf.fields import NO_PARAMETERS, ParameterInputs


@dataclass(frozen=True)
class Frames:
    """Configurations of equally many atoms.

    Attributes
    ----------
    coords
        float64 [n_frames, n_atoms, 3], angstrom.
    cells
        float64 [n_frames, 9], rows are lattice vectors, angstrom; None without periodicity.
    types
        int32 [n_frames, n_atoms]; -1 marks a virtual atom.
    fparam
        float64 [n_frames, dim_fparam] or None.
    aparam
        float64 [n_frames, n_atoms, dim_aparam] or None.
    """

    coords: np.ndarray
    cells: np.ndarray | None
    types: np.ndarray
    fparam: np.ndarray | None = None
    aparam: np.ndarray | None = None

    def parameters(self, chosen: np.ndarray, order: np.ndarray) -> list[np.ndarray]:
        """Frame and then atomic parameters, as far as there are any, of frames ``chosen`` [n];
        atom i is atom ``order[i]`` of the frames.
        """
        found = [] if self.fparam is None else [self.fparam[chosen]]
        if self.aparam is not None:
            found.append(self.aparam[chosen[:, None], order])
        return found

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return self.types.shape[0]

    @property
    def n_atoms(self) -> int:
        """Number of atoms in each frame, virtual ones included."""
        return self.types.shape[1]


@dataclass(frozen=True)
class Group:
    """Frames with the same atoms in the same order, ready for one run of the graph.

    Attributes
    ----------
    frames
        int [n]: which frames.
    order
        int [n_real]: positions of the real atoms, sorted by type; equal types keep their order.
    types
        int32 [n_real]: their types, ascending.
    """

    frames: np.ndarray
    order: np.ndarray
    types: np.ndarray

    def natoms(self, ntypes: int) -> np.ndarray:
        """int32 [2 + ntypes]: atoms, atoms, atoms of each type."""
        n = len(self.types)
        return np.array([n, n, *np.bincount(self.types, minlength=ntypes)], np.int32)


def group_frames(frames: Frames) -> Iterator[Group]:
    """Sort frames into groups that a model for sorted, real atoms can evaluate together."""
    if frames.n_frames == 0:
        return
    first = frames.types[0]
    # the usual case, and much faster
    if frames.n_frames == 1 or frames.types.strides[0] == 0 or (frames.types == first).all():
        yield _group(np.arange(frames.n_frames), first)
        return
    kinds, member = np.unique(frames.types, axis=0, return_inverse=True)
    for kind, types in enumerate(kinds):
        yield _group(np.flatnonzero(member.reshape(-1) == kind), types)


def _group(frames: np.ndarray, types: np.ndarray) -> Group:
    order = types.argsort(kind="stable")
    types = types[order]
    real = types.searchsorted(VIRTUAL, side="right")
    return Group(frames, order[real:], types[real:])


@dataclass(frozen=True)
class Signature:
    """Inputs of a model.

    Attributes
    ----------
    ntypes, type_map
        Types that it knows, and their names if they have any.
    parameters
        Frame and atomic parameters that it takes.
    rcut
        Cutoff, angstrom.
    """

    ntypes: int
    type_map: Sequence[str] = ()
    parameters: ParameterInputs = NO_PARAMETERS
    rcut: float = FAR

    def frames(
        self,
        coords: ArrayLike,
        cells: ArrayLike | None,
        atom_types: ArrayLike,
        fparam: ArrayLike | None = None,
        aparam: ArrayLike | None = None,
        mixed_type: bool = False,
        pbc: ArrayLike | None = None,
    ) -> Frames:
        """Check the arguments of an evaluation and bring them to one shape.

        Parameters
        ----------
        coords
            n_frames × n_atoms × 3 numbers in any shape, angstrom.
        cells
            n_frames × 9 numbers in any shape, or None.
        atom_types
            n_atoms types for all frames, also as one row; n_frames × n_atoms when ``mixed_type``.
        fparam
            n_frames × dim_fparam numbers, or dim_fparam for all frames.
        aparam
            n_frames × n_atoms × dim_aparam numbers, or n_atoms × dim_aparam, or dim_aparam.
        mixed_type
            Whether each frame has types of its own.
        pbc
            Whether the frames are periodic along each lattice vector, three truth values or one for
            all; None: where there are cells, along all. The cells of the result are
            :func:`~deepmd_tf.data.open_directions.closed`.

        Raises
        ------
        InputError
            For a wrong size, a number that is not finite, a flat cell, periodicity without cells,
            or a type that the model does not know.
        """
        types = _types(atom_types, mixed_type)
        coords = _numbers("coords", coords)
        n_atoms = types.shape[-1]
        n_frames = _count_frames(coords, n_atoms, cells)
        if types.ndim == 1 or len(types) == 1:
            types = np.broadcast_to(types, (n_frames, n_atoms))
        elif len(types) != n_frames:
            raise InputError(f"atom_types has {len(types)} rows, coords has {n_frames} frames")
        _check_types(types, self.ntypes, self.type_map)
        coords = coords.reshape(n_frames, n_atoms, 3)
        _check_finite("coords", coords, "atom", real=types != VIRTUAL)
        cells = _cells(cells, n_frames, _periodic(pbc, cells), coords, types, self.rcut)
        dim_f, dim_a, default_fparam, default_aparam, masked_atoms = self.parameters
        fparam = default_fparam if fparam is None else fparam
        aparam = default_aparam if aparam is None else aparam
        atomic = [(n_frames, n_atoms, dim_a), (n_atoms, dim_a), (dim_a,)]
        fparam = _parameters("fparam", fparam, dim_f, [(n_frames, dim_f), (dim_f,)])
        aparam = _parameters("aparam", aparam, dim_a, atomic)
        if masked_atoms is not None and aparam is not None:
            _check_mask(aparam, types, masked_atoms, self.type_map)
        return Frames(coords, cells, types, fparam, aparam)


def _numbers(name: str, values: ArrayLike) -> np.ndarray:
    try:
        given = np.asarray(values)
        if given.dtype.kind == "c":
            raise InputError(f"{name}: complex numbers; expected real ones")
        # text is named as it was given
        return np.asarray(values if given.dtype.kind in "US" else given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: not an array of numbers ({error})") from None


def _types(atom_types: ArrayLike, mixed_type: bool) -> np.ndarray:
    try:
        given = np.asarray(atom_types)
        if given.dtype.kind == "c":
            raise TypeError
        types = given.astype(np.int32)
        whole = bool((types == given).all())
    except (TypeError, ValueError):
        whole = False
    if not whole:
        raise InputError(
            "atom_types: types are whole numbers, the positions of the elements in the type map"
        )
    if mixed_type and types.ndim != 2:
        raise InputError(
            f"atom_types has shape {types.shape}; with mixed_type it is (n_frames, n_atoms)"
        )
    if types.ndim not in (1, 2):
        raise InputError(
            f"atom_types has shape {types.shape}, expected (n_atoms,) or (n_frames, n_atoms)"
        )
    return types


def _count_frames(coords: np.ndarray, n_atoms: int, cells: ArrayLike | None) -> int:
    if n_atoms == 0:
        if coords.size:
            raise InputError(f"coords has {coords.size} numbers, atom_types is empty")
        return len(coords) if coords.ndim > 1 else 0 if cells is None else np.size(cells) // 9
    if coords.size % (3 * n_atoms):
        raise InputError(
            f"coords has shape {coords.shape}; with {n_atoms} atoms it is "
            f"(n_frames, {3 * n_atoms}) or (n_frames, {n_atoms}, 3)"
        )
    return coords.size // (3 * n_atoms)


def _check_types(types: np.ndarray, ntypes: int, type_map: Sequence[str]) -> None:
    if types.size and (types.max() >= ntypes or types.min() < VIRTUAL):
        wrong = (types >= ntypes) | (types < VIRTUAL)
        frame, atom = np.argwhere(wrong)[0]
        known = ", ".join(f"{i} {name}" for i, name in enumerate(type_map)) or f"0 to {ntypes - 1}"
        raise InputError(
            f"atom_types: atom {atom} of frame {frame} has type {types[frame, atom]}; "
            f"the model knows {known} (and -1, no atom)"
        )


def _check_mask(
    mask: np.ndarray, types: np.ndarray, expected: Sequence[int], type_map: Sequence[str]
) -> None:
    """Every frame has the atoms that the model was made for, and a mask of 0 and 1."""
    counts = np.stack([np.sum(types == t, axis=1) for t in range(len(expected))], axis=1)
    wrong = (counts != np.asarray(expected)).any(axis=1)
    if wrong.any():
        frame = int(wrong.argmax())
        raise InputError(
            f"atom_types: frame {frame} has {numbers_of_atoms(counts[frame], type_map)}, but the "
            f"model is of {numbers_of_atoms(expected, type_map)} (sel of its descriptor, which has "
            "a mask); give all of them, and 0 in aparam to those that are not there"
        )
    bad = (mask != 0) & (mask != 1)
    if bad.any():
        frame, atom = np.argwhere(bad)[0][:2]
        raise InputError(
            f"aparam: atom {atom} of frame {frame} has {mask[frame, atom, 0]:g}; it is the mask of "
            "atoms, expected 1, or 0 for an atom that is not there"
        )


def _check_finite(name: str, values: np.ndarray, item: str, real: np.ndarray | None = None) -> None:
    finite = np.isfinite(values)
    if finite.all():
        return
    bad = ~finite.all(axis=-1)
    if real is not None:
        bad &= real
    if bad.any():
        where = np.argwhere(bad)[0]
        position = f" of {item} {where[1]}" if len(where) > 1 else ""
        raise InputError(f"{name}: a number{position} in frame {where[0]} is not finite")


def _periodic(pbc: ArrayLike | None, cells: ArrayLike | None) -> np.ndarray:
    """Periodicity along each lattice vector, bool [3]."""
    if pbc is None:
        return np.full(3, cells is not None)
    given = np.asarray(pbc)
    numbers = given.dtype.kind in "biuf" and np.isin(given, (0, 1)).all()
    if given.shape not in ((), (1,), (3,)) or not numbers:
        raise InputError(f"pbc is {pbc!r}; expected True, False or three of them")
    periodic = np.broadcast_to(given.astype(bool), 3)
    if cells is None and periodic.any():
        raise InputError(f"pbc is {periodic.tolist()}, but cells is None")
    return periodic


def _cells(
    cells: ArrayLike | None,
    n_frames: int,
    pbc: np.ndarray,
    coords: np.ndarray,
    types: np.ndarray,
    rcut: float,
) -> np.ndarray | None:
    """Cells [n_frames, 9] that are periodic in all directions; None where none is."""
    if cells is None or not pbc.any():
        return None
    cells = _numbers("cells", cells)
    if cells.size != 9 * n_frames:
        raise InputError(
            f"cells has shape {cells.shape}; for {n_frames} frames it is ({n_frames}, 9) or "
            f"({n_frames}, 3, 3), or None without periodicity"
        )
    cells = cells.reshape(n_frames, 9)
    _check_finite("cells", cells, "vector")
    cells = closed(cells.reshape(-1, 3, 3), pbc, coords, rcut, types != VIRTUAL)
    flat = np.linalg.det(cells) == 0.0
    if flat.any():
        what = "no volume" if pbc.all() else f"no extent where it is periodic (pbc {pbc.tolist()})"
        raise InputError(
            f"cells: the cell of frame {flat.argmax()} has {what}; "
            "use cells=None for a system without periodicity"
        )
    return cells.reshape(n_frames, 9)


def _parameters(
    name: str, values: ArrayLike | None, dim: int, shapes: Sequence[tuple[int, ...]]
) -> np.ndarray | None:
    """Broadcast frame or atomic parameters, given in one of ``shapes``, to the first of them."""
    if dim == 0:
        if values is not None and np.size(values):
            raise InputError(f"{name} is given, but the model has none")
        return None
    if values is None:
        raise InputError(
            f"{name} is missing: the model wants {dim} numbers for each {_OWNER[name]}"
        )
    values = _numbers(name, values)
    for shape in shapes:
        if values.size == np.prod(shape):
            values = np.broadcast_to(values.reshape(shape), shapes[0])
            _check_finite(name, values, "atom")
            return values
    raise InputError(
        f"{name} has shape {values.shape}, expected {' or '.join(str(s) for s in shapes)}"
    )


_OWNER = {"fparam": "frame", "aparam": "atom"}
