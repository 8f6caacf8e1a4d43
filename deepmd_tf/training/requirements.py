# SPDX-License-Identifier: BSD-3-Clause
"""Requirements of the loss on the data: labels, and frames in a batch."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator

import numpy as np

from deepmd_tf import fields
from deepmd_tf.config import Config
from deepmd_tf.data import DataSystem, DataSystems
from deepmd_tf.data.checks.findings import Finding
from deepmd_tf.data.checks.spins import wrong_counts
from deepmd_tf.data.types import numbers_of_atoms
from deepmd_tf.errors import InputError
from deepmd_tf.losses import Term, TermLoss

log = logging.getLogger(__name__)


def missing_labels(loss: TermLoss, data: DataSystems) -> Iterator[Finding]:
    """Terms that have nothing to learn from: no set of the training data has their labels, or the
    coefficients that they are to have.
    """
    coefficients = fields.ATOM_ENER_COEFF
    if coefficients in loss.labels and not data.has(coefficients.name):
        files = " (or ".join(f"{stem}.npy" for stem in coefficients.stems)
        yield Finding(
            "coefficients",
            "",
            f"loss.enable_atom_ener_coeff is true, but no training system has {files}); without "
            "coefficients it changes nothing; add the file, or remove the key",
            error=InputError,
        )
    for term in loss.terms:
        names = [label.name for label in term.labels]
        if data.has(*names):
            continue
        missing = [label for label in term.labels if not data.has(label.name)]
        if missing:
            others = [f"{stem}.npy" for stem in missing[0].stems[1:]]
            file = f"{missing[0].name}.npy" + (f" (or {', '.join(others)})" if others else "")
            found = f"no training system has {file}; add the file"
        else:
            files = " and ".join(f"{name}.npy" for name in names)
            found = f"no set of the training data has both {files}; add what is missing"
        to_zero = "set both to 0" if len(term.weight_keys) > 1 else "set it to 0"
        text = f"loss: {_prefactors(term)} is not 0, but {found}, or {to_zero}"
        yield Finding("labels", "", text, error=InputError)


def unlabelled_systems(loss: TermLoss, data: DataSystems) -> Iterator[Finding]:
    """Terms that learn nothing from some systems, though they could: a doubt."""
    for term in loss.terms:
        without = [
            system.path
            for system in data.systems
            if not all(all(system.has(label.name)) for label in term.labels)
            and (system.pbc or fields.VIRIAL not in term.labels)
        ]
        if without and len(without) < len(data.systems):
            files = " and ".join(f"{label.name}.npy" for label in term.labels)
            yield Finding(
                "labels of some",
                "",
                f"loss: {_prefactors(term)} is not 0, but {len(without)} of {len(data.systems)} "
                f"training systems have no {files}, at least not in every set; the first is "
                f"{without[0]}",
                "from them this term learns nothing",
                doubt=True,
            )


def unused_labels(
    loss: TermLoss, data: DataSystems, labels: Iterable[fields.Field]
) -> Iterator[Finding]:
    """Those of ``labels`` that are there, but not trained on: a doubt."""
    # by name: a loss may ask for the item with another number of components
    trained = {label.name for label in loss.labels}
    for label in labels:
        if label.name in trained:
            continue
        having = [
            system.path
            for system in data.systems
            if (system.pbc or label != fields.VIRIAL) and system.offers(label)
        ]
        if having:
            yield Finding(
                "unused labels",
                "",
                f"{label.name}.npy: in {len(having)} of {len(data.systems)} training systems, but "
                f"not trained on, because its prefactors in the loss are 0; the first is "
                f"{having[0]}",
                "expected prefactors that are not 0, if the model is to learn it"
                + (" (start_pref_v, limit_pref_v)" if label == fields.VIRIAL else ""),
                doubt=True,
            )


def isolated_atoms(config: Config, data: DataSystems) -> Iterator[Finding]:
    """Systems of one atom that has no neighbours, from which the energy bias is found as from all
    others: a doubt, with the ``atom_ener`` that is meant.
    """
    rcut = config.model.largest_rcut
    energies: dict[int, float] = {}
    found: list[str] = []
    for system in data.systems:
        if system.natoms > 1 or system.mixed or not any(system.has(fields.ENERGY.name)):
            continue
        first = system.set_names[system.has(fields.ENERGY.name).index(True)]
        arrays = system.pick(first, [0]).arrays
        if system.pbc:
            heights = 1 / np.linalg.norm(np.linalg.inv(arrays["box"].reshape(3, 3)), axis=0)
            if heights.min() < rcut:
                continue
        energies[int(system.types[0])] = float(np.ravel(arrays["energy"])[0])
        found.append(system.path)
    known = getattr(config.model.main.fitting_net, "atom_ener", None)
    if not found or known is None:
        return
    if all(t < len(known) and known[t] is not None for t in energies):
        return
    listed = json.dumps([energies.get(t) for t in range(data.ntypes)])
    yield Finding(
        "isolated atoms",
        found[0],
        f"has one atom without neighbours ({len(found)} such systems); the energy bias of each "
        "type is a least-squares fit to all frames, and these count in it as any other",
        f'expected "atom_ener": {listed} in model.fitting_net, eV, and such systems left out',
        doubt=True,
    )


def require_frames(loss: TermLoss, data: DataSystems, batch_size: object) -> None:
    """Check that batches have the frames that terms compare with each other.

    Parameters
    ----------
    loss, data
        Of the training.
    batch_size
        The key as it was given, for the message.

    Raises
    ------
    InputError
        If a batch with the labels of a term may have too few frames.
    """
    for term in loss.terms:
        for system, set_name, frames in _short_batches(term, data):
            raise InputError(
                f"loss: {_prefactors(term)} is not 0, which compares frames of a batch with each "
                f"other, but a batch of {system.path}/{set_name} ({system.natoms} atoms, "
                f"batch_size {json.dumps(batch_size)}) has only {frames}; take a batch_size of at "
                f"least {term.min_frames} and sets with as many frames, or set both to 0"
            )


def require_same_atoms(loss: TermLoss, data: DataSystems) -> None:
    """Check that no term compares what frames of different atoms do not have in common.

    Raises
    ------
    InputError
        If the batches have such frames, and the loss has Hessians or compares energies of frames.
    """
    if not data.mixed:
        return
    if data.mixes:
        why = 'a batch has frames of several systems (batch_size "mixed:N")'
        remedy = "take another batch_size"
    else:
        path = next(system.path for system in data.systems if system.mixed)
        why = f"the frames of {path} have types of their own (real_atom_types.npy)"
        remedy = "split such systems into one per composition"
    for term in loss.terms:
        if term.types is not None:
            raise InputError(
                f"models of tensors are trained on frames of the same atoms, but {why}; {remedy}"
            )
        if term.name in ("de", "h"):
            what = "energies of the frames" if term.name == "de" else "Hessians"
            raise InputError(
                f"loss: {_prefactors(term)} is not 0, but {what} of a batch cannot be compared "
                f"when their atoms differ: {why}; {remedy}, or set both to 0"
            )


def wrong_atoms(config: Config, data: DataSystems) -> Iterator[Finding]:
    """Systems of other atoms than a descriptor with a mask is made for, and cells where there are
    no periodic images.
    """
    descriptor = config.model.main.descriptor
    if config.model.fragmented:
        yield from (_without_images(s, config.model.type) for s in data.systems if s.pbc)
    if not config.model.masked:
        return
    (expected,) = descriptor.neighbors.values()
    names = config.model.type_map or data.type_map or ()
    for system in data.systems:
        if system.mixed or data.mixes:
            why = (
                "its frames have types of their own (real_atom_types.npy)"
                if system.mixed
                else 'batches have frames of several systems (batch_size "mixed:N")'
            )
            remedy = (
                f"{descriptor.type} takes frames of the same atoms; masked ones are 0 in aparam"
            )
            yield Finding("atoms", system.path, why, remedy)
            continue
        if system.pbc:
            yield _without_images(system, descriptor.type)
        counts = np.bincount(system.types, minlength=len(expected))
        if tuple(counts.tolist()) != expected:
            yield Finding(
                "atoms",
                system.path,
                f"has {numbers_of_atoms(counts, names)}",
                f"expected {numbers_of_atoms(expected, names)}, the numbers in "
                f"model.descriptor.sel; with {descriptor.type} every system has these atoms, of "
                "which those that are not there are 0 in aparam.npy",
            )


def wrong_spins(config: Config, data: DataSystems) -> Iterator[Finding]:
    """Systems without a virtual atom for each atom with a spin, of a model with spins."""
    virtual, names = config.model.virtual_types, config.model.type_names
    if not virtual or names is None:
        return
    for system in data.systems:
        if system.mixed or data.mixes:
            why = (
                "its frames have types of their own (real_atom_types.npy)"
                if system.mixed
                else 'batches have frames of several systems (batch_size "mixed:N")'
            )
            yield Finding("spins", system.path, why, "with model.spin they need the same atoms")
        elif found := wrong_counts(system.types, len(names) - virtual, names):
            yield Finding(
                "spins",
                system.path,
                found,
                "expected as many as atoms, one for each, in type.raw and behind them in coord.npy "
                "and force.npy, with model.spin",
            )


def _without_images(system: DataSystem, kind: str) -> Finding:
    return Finding(
        "periodic",
        system.path,
        f"is periodic, but {kind} sees no periodic images",
        'expected an empty file "nopbc" there; the cells have no effect',
        doubt=True,
    )


def no_selected_atoms(loss: TermLoss, data: DataSystems) -> Iterator[Finding]:
    """Systems without atoms of the types that have tensors: there is nothing to compare."""
    types = loss.terms[0].types
    if types is None or data.mixed:
        return
    for system in data.systems:
        if not np.isin(system.types, types).any():
            yield Finding(
                "no selected atoms",
                system.path,
                "has no atoms of the types in model.fitting_net.sel_type",
                f"{list(types)}; leave the system out, or select other types",
            )


def warn_of_nan(loss: TermLoss, validation: DataSystems) -> None:
    """Warn of validation errors that are nan because batches have too few frames."""
    for term in loss.terms:
        for system, _, frames in _short_batches(term, validation):
            log.warning(
                "validation batches of %s have only %d frame; %s_val compares frames of a batch "
                "and is nan there, a larger batch_size helps",
                system.path,
                frames,
                term.column,
            )
            break


def _short_batches(term: Term, data: DataSystems) -> Iterator[tuple[DataSystem, str, int]]:
    """System, set and frames of the batches that have the labels, but too few frames."""
    for system, batch_size in zip(data.systems, data.batch_sizes, strict=True):
        labelled = zip(*(system.has(label.name) for label in term.labels), strict=True)
        for name, size, found in zip(system.set_names, system.set_sizes, labelled, strict=True):
            frames = min(batch_size, size)
            if all(found) and frames < term.min_frames:
                yield system, name, frames


def _prefactors(term: Term) -> str:
    return " or ".join(term.weight_keys)
