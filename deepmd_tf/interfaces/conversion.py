# SPDX-License-Identifier: BSD-3-Clause
"""Data of other programs as systems."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from deepmd_tf.data.formats.frames import StoredFrames, read_frames, unknown_items
from deepmd_tf.data.formats.opening import kind_of
from deepmd_tf.data.formats.source import require_regular_file
from deepmd_tf.data.formats.stores import STORES, XYZStore
from deepmd_tf.errors import DataError, InputError, InstallError
from deepmd_tf.fields import FIELDS, HESSIAN
from deepmd_tf.interfaces import foreign

log = logging.getLogger(__name__)

OWN_FORMATS = {"npy": "directory", "hdf5": "hdf5", "extxyz": "extxyz"}
"""By name, and what :func:`~deepmd_tf.data.formats.source.kind_of` calls them."""
_SUFFIXES = {".h5": "hdf5", ".hdf5": "hdf5", ".xyz": "extxyz", ".extxyz": "extxyz"}


@dataclasses.dataclass
class Converted:
    """Summary of a written system."""

    natoms: int
    nframes: int = 0
    labels: dict[str, int] = dataclasses.field(default_factory=dict)


def convert_data(
    inputs: Sequence[str],
    output: str | os.PathLike[str],
    *,
    source_format: str | None = None,
    target_format: str | None = None,
    type_map: Sequence[str] | None = None,
    energy: str | None = None,
    overwrite: bool = False,
) -> dict[str, Converted]:
    """Read frames in any format, and write them as systems.

    StoredFrames are grouped by composition and periodicity. The output appears when it is complete.

    Parameters
    ----------
    inputs
        Files or directories.
    output
        Directory, HDF5 file or file of extended XYZ.
    source_format
        A key of :data:`OWN_FORMATS`, or the name of a format of dpdata or ASE, with ``dpdata:`` or
        ``ase:`` before it where both have one. By default systems that training reads, and what
        ASE recognises.
    target_format
        A key of :data:`OWN_FORMATS`, by default what the name of the output ends with, or ``npy``.
    type_map
        Names of the types in the order in which they are written, by default sorted; names of the
        types of systems that have no ``type_map.raw``.
    energy
        ``"energy"`` or ``"free_energy"``, where ASE finds both.
    overwrite
        Whether an output that exists is replaced.

    Returns
    -------
    dict
        By name of the system, what was written.

    Raises
    ------
    DeepmdError
        If something cannot be read or written.
    """
    if type_map is not None and len(set(type_map)) < len(type_map):
        raise InputError(f"the type map {list(type_map)} has a name more than once")
    target = target_format or _SUFFIXES.get(Path(output).suffix.lower(), "npy")
    options = {} if STORES[target] is XYZStore else {"type_map": list(type_map or ()) or None}
    found: dict[str, Converted] = {}
    with STORES[target](output, overwrite, **options) as store:
        for path in inputs:
            count = 0
            for frames in _read(path, source_format, type_map, energy):
                _check(path, frames, count, type_map)
                store.add(frames)
                one = found.setdefault(frames.name, Converted(len(frames.species)))
                one.nframes += frames.nframes
                count += frames.nframes
                for name in frames.items:
                    one.labels[name] = one.labels.get(name, 0) + frames.nframes
            if not count:
                raise DataError(f"{path}: holds no frame")
            log.info("%s: %d frames", path, count)
        elements = store.elements
    for name, one in found.items():
        labels = ", ".join(
            label if count == one.nframes else f"{label} (of {count} frames)"
            for label, count in one.labels.items()
        )
        log.info(
            "%s: %d atoms, %d frames, %s", name, one.natoms, one.nframes, labels or "no labels"
        )
    if target == "extxyz" and any(HESSIAN.name in one.labels for one in found.values()):
        log.warning("%s: extended XYZ has no place for Hessians, which are left out", output)
    log.info("wrote %s: %d systems, elements %s", output, len(found), ", ".join(elements))
    return found


def _read(
    path: str, form: str | None, type_map: Sequence[str] | None, energy: str | None
) -> Iterator[StoredFrames]:
    if os.path.exists(path) and not os.path.isdir(path):
        require_regular_file(path, "a file or a directory")
    if form is None and not _is_own(path):
        form = foreign.guess_ase_format(path)
        if form is None:
            raise DataError(f"{path}: its format is not recognised; name it with --from")
        log.info("%s: read by ASE as %s", path, form)
        form = f"ase:{form}"
    if form is None or form in OWN_FORMATS:
        kind = kind_of(path)
        if form is not None and kind != OWN_FORMATS[form]:
            raise DataError(f"{path}: is not {form}")
        unknown = unknown_items(path)
        if unknown:
            log.warning("%s: not converted, since not known here: %s", path, ", ".join(unknown))
        return read_frames(path, type_map)
    if not os.path.exists(path):
        raise DataError(f"{path}: there is no such file")
    package, _, name = form.rpartition(":")
    if package in ("", "dpdata") and name in foreign.dpdata_formats():
        return foreign.read_dpdata(path, name)
    if package in ("", "ase") and name in foreign.ase_formats():
        return foreign.read_ase(path, name, energy)
    return _unknown_format(form)


def _unknown_format(form: str) -> Iterator[StoredFrames]:
    missing = [
        name
        for name, formats in (("dpdata", foreign.dpdata_formats()), ("ase", foreign.ase_formats()))
        if not formats
    ]
    if missing:
        raise InstallError(
            f'"{form}" is not a format of this package; dpdata and ASE have more, install with: '
            f"pip install {' '.join(missing)}"
        )
    raise InputError(
        f'"{form}" is not a format: neither {", ".join(OWN_FORMATS)} nor one that dpdata or ASE '
        "reads"
    )


def _is_own(path: str) -> bool:
    try:
        kind = kind_of(path)
    except DataError:
        return False
    return kind != "directory" or os.path.isdir(path) or not os.path.exists(path)


def _check(path: str, frames: StoredFrames, first: int, type_map: Sequence[str] | None) -> None:
    """Nothing is written that cannot be read."""
    if type_map is not None:
        unknown = sorted(set(frames.species) - set(type_map))
        if unknown:
            raise InputError(f"{path}: has the elements {unknown}, which --type-map does not name")
    natoms = len(frames.species)
    if not natoms:
        raise DataError(f"{path}: frame {first} (counted from 0) has no atoms")
    arrays = {"coord": frames.coord, "box": frames.box, **frames.items}
    for name, values in arrays.items():
        if values is None:
            continue
        width = FIELDS[name].stored_width(natoms)
        size = int(np.prod(values.shape[1:]))
        known = not FIELDS[name].any_dof
        if len(values) != frames.nframes or (known and size != width):
            raise DataError(f"{path}: {name} has the shape {values.shape}")
        bad = ~np.isfinite(values.reshape(frames.nframes, -1)).all(axis=1)
        if bad.any():
            frame = first + int(bad.argmax())
            raise DataError(
                f"{path}: {name} of frame {frame} (counted from 0) is not finite; remove the frame"
            )
