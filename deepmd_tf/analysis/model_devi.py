# SPDX-License-Identifier: BSD-3-Clause
"""How far several models disagree: a measure of what they have not learnt.

With the mean ⟨·⟩ over models, for a frame of N atoms,

=====================  =========================================================================
force                  ε_i = √⟨‖F_i − ⟨F_i⟩‖²⟩ of each atom, eV/Å; maximum, minimum, mean over i
virial                 σ_ab = √⟨(v_ab − ⟨v_ab⟩)²⟩ of v = virial/N, eV; maximum, minimum and
                       √(Σ σ_ab²)/3 over the nine components
energy                 √⟨(e − ⟨e⟩)²⟩ of e = E/N, eV
=====================  =========================================================================

Labels instead of ⟨·⟩ inside give the error of the models. Relative values are divided by the size
of the mean (or label) plus a level: the force of an atom by ‖⟨F_i⟩‖ + l, each component of the
virial by ``|⟨v_ab⟩| + l_v``, as LAMMPS does.
"""

from __future__ import annotations

import io
import logging
import math
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from deepmd_tf import fields
from deepmd_tf.data import expand_systems
from deepmd_tf.errors import DataError, InputError
from deepmd_tf.files import BYTES_OF_NAMES, replacing, require_writable
from deepmd_tf.inference.batches import evaluate
from deepmd_tf.inference.deep_pot import DeepPot
from deepmd_tf.inference.shares import Share, require_same_work, shares
from deepmd_tf.inference.systems import open_all
from deepmd_tf.parallel import ALONE, Ranks, in_turns
from deepmd_tf.progress import bar

log = logging.getLogger(__name__)

ATOMS_AT_ONCE = 20_000
"""Atoms whose forces, by all models, are in memory together."""
COLUMNS = tuple(f"{kind}_devi_{item}" for item in "vf" for kind in ("max", "min", "avg"))
LABELS = (fields.ENERGY, fields.FORCE, fields.VIRIAL)


def calc_model_devi_f(
    fs: np.ndarray,
    real_f: np.ndarray | None = None,
    relative: float | None = None,
    atomic: bool = False,
) -> tuple[np.ndarray, ...]:
    """Deviation of forces.

    Parameters
    ----------
    fs
        [n_models, n_frames, n_atoms, 3], eV/Å.
    real_f
        Labels [n_frames, n_atoms, 3]; then the error is measured.
    relative
        Level l of relative values, eV/Å; None: absolute ones.
    atomic
        Whether to return the values of the atoms too.

    Returns
    -------
    maximum, minimum, mean
        Over atoms, each [n_frames], eV/Å (a ratio with ``relative``).
    each
        [n_frames, n_atoms], only with ``atomic``.
    """
    center = np.mean(fs, axis=0) if real_f is None else real_f
    each = np.linalg.norm(_spread(fs, center), axis=-1)
    if relative is not None:
        each = each / (np.linalg.norm(center, axis=-1) + relative)
    found = np.max(each, axis=-1), np.min(each, axis=-1), np.mean(each, axis=-1)
    return (*found, each) if atomic else found


def calc_model_devi_v(
    vs: np.ndarray, real_v: np.ndarray | None = None, relative: float | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Deviation of virials per atom.

    Parameters
    ----------
    vs
        [n_models, n_frames, 9], virials divided by the number of atoms, eV.
    real_v
        Labels [n_frames, 9], divided likewise; then the error is measured.
    relative
        Level l_v of relative values, eV; None: absolute ones.

    Returns
    -------
    maximum, minimum, norm / 3
        Over the components, each [n_frames], eV (a ratio with ``relative``).
    """
    center = np.mean(vs, axis=0) if real_v is None else real_v
    each = _spread(vs, center)
    if relative is not None:
        each = each / (np.abs(center) + relative)
    return np.max(each, axis=-1), np.min(each, axis=-1), np.linalg.norm(each, axis=-1) / 3


def calc_model_devi_e(es: np.ndarray, real_e: np.ndarray | None = None) -> np.ndarray:
    """Deviation of energies per atom, [n_frames], eV.

    Parameters
    ----------
    es
        [n_models, n_frames, 1], energies divided by the number of atoms, eV.
    real_e
        Labels [n_frames, 1], divided likewise; then the error is measured.
    """
    return _spread(es, np.mean(es, axis=0) if real_e is None else real_e)[..., 0]


def _spread(values: np.ndarray, center: np.ndarray) -> np.ndarray:
    return np.sqrt(np.mean(np.square(values - center), axis=0))


def calc_model_devi(
    coord: ArrayLike,
    box: ArrayLike | None,
    atype: ArrayLike,
    models: Sequence[DeepPot],
    fname: str | os.PathLike[str] | None = None,
    frequency: int = 1,
    mixed_type: bool = False,
    fparam: ArrayLike | None = None,
    aparam: ArrayLike | None = None,
    real_data: Mapping[str, np.ndarray] | None = None,
    atomic: bool = False,
    relative: float | None = None,
    relative_v: float | None = None,
) -> np.ndarray:
    """Deviation of models on frames.

    Parameters
    ----------
    coord, box, atype, mixed_type, fparam, aparam
        As for :meth:`~deepmd_tf.inference.DeepPot.eval`. Types are those of the first model; they
        are translated by name for models with another type map.
    models
        Two or more models (one with ``real_data``; the deviation of one from itself is 0).
    fname
        File that the result is appended to, see :func:`write_model_devi_out`.
    frequency
        Steps from one frame to the next; the first column is the frame times this number.
    real_data
        Labels, from which the error is measured: ``force`` [n_frames, n_atoms, 3], and ``virial``
        [n_frames, 9] and ``energy`` [n_frames, 1], both divided by the number of atoms.
    atomic
        Whether there is a column for each atom.
    relative, relative_v
        Levels of relative values, eV/Å for forces, eV for virials.

    Returns
    -------
    float64 [n_frames, 8] or [n_frames, 8 + n_atoms]
        step, max_devi_v, min_devi_v, avg_devi_v, max_devi_f, min_devi_f, avg_devi_f, devi_e, and
        with ``atomic`` the deviations of the forces.

    Raises
    ------
    InputError
        If there is no model, or an atom has an element that one of them does not have, and
        as :meth:`~deepmd_tf.inference.DeepPot.eval`.
    """
    _check_number(len(models), True)
    if len(models) == 1 and real_data is None:
        log.warning("a single model does not deviate from itself: all deviations are zero")
    atype = np.asarray(atype)
    n_atoms = atype.shape[-1]
    types = [translate_types(atype, models[0], model) for model in models]
    results = [
        model.eval(coord, box, own, fparam=fparam, aparam=aparam, mixed_type=mixed_type)
        for model, own in zip(models, types, strict=True)
    ]
    devi = _deviation(results, n_atoms, real_data, atomic, relative, relative_v)
    devi[:, 0] = np.arange(len(devi)) * frequency
    if fname:
        write_model_devi_out(devi, fname, atomic=atomic)
    return devi


def _deviation(
    results: Sequence[Sequence[np.ndarray]],
    n_atoms: int,
    real_data: Mapping[str, np.ndarray] | None,
    atomic: bool,
    relative: float | None,
    relative_v: float | None,
) -> np.ndarray:
    """Rows, the first column to be filled in, from energy, force and virial of each model."""
    energies, forces, virials = (
        np.array([result[i] for result in results], np.float64) for i in range(3)
    )
    real = real_data or {}
    force = calc_model_devi_f(forces, real.get("force"), relative, atomic=True)
    columns = [
        np.zeros(len(force[0])),
        *calc_model_devi_v(virials / n_atoms, real.get("virial"), relative_v),
        *force[:3],
        calc_model_devi_e(energies / n_atoms, real.get("energy")),
    ]
    return np.column_stack([*columns, force[3]] if atomic else columns)


def translate_types(atype: np.ndarray, source: DeepPot, target: DeepPot) -> np.ndarray:
    """Types of the model ``source`` as types of ``target``, by their names.

    Raises
    ------
    InputError
        If an atom has an element that ``target`` does not have, or the models differ in their
        types and one has no names for them.
    """
    ours, theirs = source.get_type_map(), target.get_type_map()
    if ours == theirs:
        return atype
    if not ours or not theirs:
        raise InputError(
            f"the models have different type maps, {ours} and {theirs}; types can only be "
            "translated by their names"
        )
    table = np.array([theirs.index(name) if name in theirs else -2 for name in ours] + [-1])
    missing = [ours[t] for t in np.unique(atype) if t >= 0 and table[t] == -2]
    if missing:
        raise InputError(
            f"the models do not have the same elements: there are atoms of {', '.join(missing)}, "
            f"but one of the models has {theirs} only"
        )
    return table[atype].astype(np.int32)


def write_model_devi_out(
    devi: np.ndarray, fname: str | os.PathLike[str], header: str = "", atomic: bool = False
) -> np.ndarray:
    """Append rows of :func:`calc_model_devi` to a text file; returns them.

    Two comment lines come first, ``header`` and the names of the columns. The file has all rows in
    the end, or is as it was before.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    _append(Path(fname), _as_text(devi, header, atomic))
    return devi


def _as_text(devi: np.ndarray, header: str, atomic: bool) -> str:
    names = [*COLUMNS, "devi_e", *(["atm_devi_f(N)"] if atomic else [])]
    text = io.StringIO()
    np.savetxt(
        text,
        devi,
        fmt=["%12d"] + ["%19.6e"] * (devi.shape[1] - 1),
        delimiter="",
        header=f"{header}\n{'step':10}" + "".join(f"{name:19}" for name in names),
    )
    return text.getvalue()


def _append(path: Path, text: str) -> None:
    with replacing(path) as part:
        before = path.read_bytes() if path.exists() else b""
        part.write_bytes(_whole_lines(path, before) + text.encode("utf-8", BYTES_OF_NAMES))


def _whole_lines(path: Path, before: bytes) -> bytes:
    """What the file holds, with an end of the last line, which a killed program may have cut."""
    *above, last = before.split(b"\n")
    if not last:
        return before
    if not above or len(last) != len(above[-1].rstrip(b"\r")):
        log.warning("%s: its last line is cut off, and is kept as a comment", path)
        last = b"# cut off: " + last.removeprefix(b"#")
    return b"\n".join([*above, last, b""])


def make_model_devi(
    models: Sequence[str | os.PathLike[str]],
    *,
    system: str = ".",
    output: str | os.PathLike[str] = "model_devi.out",
    frequency: int = 1,
    real_error: bool = False,
    atomic: bool = False,
    relative: float | None = None,
    relative_v: float | None = None,
) -> list[np.ndarray]:
    """Deviation of models on all systems in and below a folder, appended to a file.

    Parameters
    ----------
    models
        Files of the models, see :class:`~deepmd_tf.inference.DeepPot`.
    system
        Folder.
    output
        File; what it holds already is kept.
    frequency, atomic, relative, relative_v
        See :func:`calc_model_devi`.
    real_error
        Measure the error against the labels of the data. Where a set has no label, the column is
        nan.

    Returns
    -------
    list of arrays
        For each system, as :func:`calc_model_devi` gives them. Nothing is written before all are
        known.

    Raises
    ------
    DeepmdError
        If a model or a system cannot be read, they do not fit together, or the file cannot be
        written.
    """
    found = named_model_devi(
        models,
        expand_systems(system),
        output,
        frequency=frequency,
        real_error=real_error,
        atomic=atomic,
        relative=relative,
        relative_v=relative_v,
    )
    return [devi for _, devi in found]


def named_model_devi(
    models: Sequence[str | os.PathLike[str]],
    systems: Sequence[str],
    output: str | os.PathLike[str],
    *,
    frequency: int = 1,
    real_error: bool = False,
    atomic: bool = False,
    relative: float | None = None,
    relative_v: float | None = None,
    ranks: Ranks = ALONE,
) -> list[tuple[str, np.ndarray]]:
    """As :func:`make_model_devi`, of systems; with their names.

    Ranks share the frames; rank 0 writes, and others return nothing.
    """
    _check_number(len(models), real_error)
    for option, value in (("relative", relative), ("relative_v", relative_v)):
        if value is not None and not value >= 0:
            raise InputError(f"--{option} {value:g}: expected a number that is not negative")
    path = require_writable(output) if ranks.leads else Path(output)
    found: list[tuple[str, np.ndarray]] = []
    text = ""
    with ExitStack() as stack:
        pots = [stack.enter_context(DeepPot(model)) for model in models]
        _check_parameters(models, pots)
        opened = open_all(systems, pots[0], LABELS if real_error else ())
        if atomic and (mixed := [data.path for data in opened if data.mixed]):
            raise DataError(
                f"{mixed[0]}: its frames have different atoms (real_atom_types.npy), so there are "
                "no columns for each of them; leave out --atomic"
            )
        require_same_work(ranks, pots, opened, str((real_error, atomic, relative, relative_v)))

        def rows(share: Share) -> tuple[np.ndarray, bool]:
            return _rows(share, pots, real_error, atomic, relative, relative_v), share.last

        counts = [(data.path, data.nframes) for data in opened]
        work = shares(deque(opened), ranks, lambda _: ATOMS_AT_ONCE)
        del opened  # systems are dropped one by one
        done = in_turns(ranks, work, rows)
        for name, devi in _by_system(done, counts if ranks.leads else []):
            if real_error:
                _warn_of_missing(name, devi)
            devi[:, 0] = np.arange(len(devi)) * frequency
            found.append((name, devi))
            text += _as_text(devi, name, atomic)
        deque(done, maxlen=0)  # of other ranks
    if not ranks.leads:
        return []
    _append(path, text)
    log.info(
        "deviation of %d models on %d frames of %d systems appended to %s",
        len(models),
        sum(len(devi) for _, devi in found),
        len(systems),
        path,
    )
    return found


def describe(devi: np.ndarray, unit: str) -> str:
    """The deviations of a system in one line, frames counted from 0."""
    largest, energy = devi[:, 1 + COLUMNS.index("max_devi_f")], devi[:, 1 + len(COLUMNS)]
    if np.isnan(largest).all():
        return f"{len(devi)} frames, no forces to compare with"
    return (
        f"{len(devi)} frames, max_devi_f {np.nanmean(largest):.4g} {unit} on average, "
        f"{np.nanmax(largest):.4g} in frame {np.nanargmax(largest)}; devi_e "
        f"{1e3 * np.nanmean(energy) if not np.isnan(energy).all() else math.nan:.4g} meV/atom"
    )


def _rows(
    share: Share,
    pots: Sequence[DeepPot],
    real_error: bool,
    atomic: bool,
    relative: float | None,
    relative_v: float | None,
) -> np.ndarray:
    """Rows of some frames, the first column to be filled in."""
    data, rows = share.data, []
    for part, _ in share.batch.uniform():
        n_atoms, types = int(part.natoms[0]), part.arrays["type"][0]
        results = [
            evaluate(pot.eval, data, part, types=_translated(types, pots[0], pot, data.path))
            for pot in pots
        ]
        real = _labels(part.arrays, n_atoms) if real_error else None
        rows.append(_deviation(results, n_atoms, real, atomic, relative, relative_v))
    return np.concatenate(rows)


def _by_system(
    done: Iterator[tuple[np.ndarray, bool]], systems: Sequence[tuple[str, int]]
) -> Iterator[tuple[str, np.ndarray]]:
    """Put the rows of shares together for each system (path, frames)."""
    for path, count in systems:
        found = []
        with bar() as progress:
            task = progress.add_task("model deviation", total=count)
            for rows, last in done:
                found.append(rows)
                progress.advance(task, len(rows))
                if last:
                    break
        yield path, np.concatenate(found)


def _translated(types: np.ndarray, source: DeepPot, target: DeepPot, path: str) -> np.ndarray:
    try:
        return translate_types(types, source, target)
    except InputError as error:
        raise DataError(f"{path}: {error}") from None


def _labels(arrays: Mapping[str, np.ndarray], n_atoms: int) -> dict[str, np.ndarray]:
    """Labels as :func:`calc_model_devi` takes them; nan where there are none."""
    shapes = {"energy": (-1, 1), "force": (-1, n_atoms, 3), "virial": (-1, 9)}
    labels = {}
    for name, shape in shapes.items():
        values = arrays[name].reshape(shape) / (1 if name == "force" else n_atoms)
        labels[name] = values if arrays[f"find_{name}"] else np.full_like(values, np.nan)
    return labels


def _warn_of_missing(path: str, devi: np.ndarray) -> None:
    # one column of each: max_devi_v, max_devi_f, devi_e
    columns = {"virial": 1, "force": 4, "energy": 7}
    if missing := [name for name, k in columns.items() if np.isnan(devi[:, k]).any()]:
        log.warning(
            "%s: frames without labels of the %s; their errors are nan", path, ", ".join(missing)
        )


def _check_number(n_models: int, real_error: bool) -> None:
    if n_models < 1:
        raise InputError("no model given; two or more can deviate from each other")
    if n_models == 1 and not real_error:
        log.warning(
            "one model does not deviate from itself: everything is 0; give two or more models, or "
            "measure the error against labels (--real_error)"
        )


def _check_parameters(models: Sequence[str | os.PathLike[str]], pots: Sequence[DeepPot]) -> None:
    for model, pot in zip(models, pots, strict=True):
        for kind in ("fparam", "aparam"):
            one, other = (getattr(p, f"get_dim_{kind}")() for p in (pots[0], pot))
            if one != other:
                raise InputError(
                    f"{models[0]} has {one} numbers in {kind}, {model} has {other}; models that "
                    "are compared need the same ones"
                )
