# SPDX-License-Identifier: BSD-3-Clause
"""The tables of pair potentials of a model that is trained."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deepmd_tf.config import AnyModelConfig, ModelConfig, PairTabConfig
from deepmd_tf.errors import CheckpointError, InputError, ModelFileError
from deepmd_tf.graph.saved import SavedModel
from deepmd_tf.pair_table import Coefficients, PairTable, read_pair_table
from deepmd_tf.pair_table.reading import line_of

log = logging.getLogger(__name__)

MOST_ROWS = 1_000_000
"""What the operations take."""


class Use(NamedTuple):
    """Where a model has a table of pair potentials.

    Attributes
    ----------
    scope
        Of the member.
    key
        That names the file, for messages.
    file
        The file.
    rcut
        Cutoff of the neighbours, Å.
    switch
        ``sw_rmin`` and ``sw_rmax``, Å, between which the nets take over; None: the table is used
        everywhere.
    """

    scope: str
    key: str
    file: str
    rcut: float
    switch: tuple[float, float] | None


def uses(model: AnyModelConfig) -> Iterator[Use]:
    """All tables of a model."""
    for scope, path, config in model.members():
        if isinstance(config, PairTabConfig):
            yield Use(scope, f"model.{path}tab_file", config.tab_file, config.rcut, None)
        elif isinstance(config, ModelConfig) and config.use_srtab is not None:
            rcut = config.descriptor.largest_rcut
            switch = config.switch_to_table[1:]
            yield Use(scope, f"model.{path}use_srtab", config.use_srtab, rcut, switch)


def find_pair_tables(
    model: AnyModelConfig,
    type_map: Sequence[str],
    ntypes: int,
    saved: SavedModel | None,
    read: Mapping[str, Coefficients] | None = None,
) -> dict[str, Coefficients]:
    """The tables of a model, continued to the cutoff, by the scope of the member.

    Parameters
    ----------
    model
        Section ``model`` of the input script.
    type_map
        Names of the types, if there are any.
    ntypes
        Number of types.
    saved
        The model that training begins with. Its tables must be those of the files; where there is
        no file any more they are taken.
    read
        Tables of members that are read from model files.

    Raises
    ------
    InputError
        When a file is wrong.
    CheckpointError, ModelFileError
        When it holds another table than the saved model.
    """
    read = read or {}
    return {
        use.scope: read[use.scope] if use.scope in read else _find(use, type_map, ntypes, saved)
        for use in uses(model)
    }


def _find(use: Use, type_map: Sequence[str], ntypes: int, saved: SavedModel | None) -> Coefficients:
    known = None if saved is None else saved.pair_tables.get(use.scope)
    if known is not None and saved is not None and not Path(use.file).exists():
        log.info("the table of pair potentials is that of %s", saved.path)
        return known
    table = read_pair_table(use.file, type_map, ntypes, use.key)
    log.info("table of pair potentials %s: %s", use.file, table.describe(type_map))
    _require_range(use, table)
    _warn(use, table)
    table, warning = table.continued(use.rcut)
    if warning:
        log.warning("%s: %s", use.file, warning)
    found = table.coefficients()
    if known is not None and saved is not None:
        _require_same(use, found, known, saved)
    return found


def require_reached(
    model: AnyModelConfig, tables: Mapping[str, Coefficients], smallest: float | None
) -> None:
    """Refuse a table that begins above the smallest distance in the training data, Å.

    Raises
    ------
    InputError
        With both distances.
    """
    for use in uses(model):
        begin = float(tables[use.scope][0][0])
        if smallest is not None and smallest < begin:
            raise InputError(
                f"{use.file}: the table of pair potentials begins at {begin:g} Å, but there are "
                f"atoms {smallest:.4g} Å apart in the training data; let the table begin below any "
                "distance that can occur"
            )


def _require_range(use: Use, table: PairTable) -> None:
    """Refuse distances that cannot be in Å, or where the table is not used."""
    rows = table.rows_to(use.rcut)
    if rows > MOST_ROWS:
        raise InputError(
            f"{use.file}: the distances of the table of pair potentials are {table.step:g} "
            f"Å apart, and up to rcut it would have {rows:.2g} rows, more than {MOST_ROWS}; "
            "distances are in Å: see whether these are, or give larger steps"
        )
    if use.switch is None:
        if table.begin >= use.rcut:
            raise InputError(
                f"{use.file}: the table of pair potentials begins at {table.begin:g} Å, but its "
                f"energies are used below rcut, {use.rcut:g} Å, only; let it begin below any "
                "distance that can occur"
            )
        return
    rmin, rmax = use.switch
    if table.begin >= rmax:
        raise InputError(
            f"{use.file}: the table of pair potentials begins at {table.begin:g} Å, but its "
            f"energies are used below model.sw_rmax, {rmax:g} Å, only; let it begin below any "
            "distance that can occur"
        )
    if table.end < rmin:
        raise InputError(
            f"{use.file}: the table of pair potentials ends at {table.end:g} Å, below "
            f"model.sw_rmin ({rmin:g} Å), up to which its energies are the only ones; distances "
            "are in Å: see whether these are, and let the table reach sw_rmax"
        )


def _warn(use: Use, table: PairTable) -> None:
    if use.switch is not None:
        _warn_of_switch(use.file, use.switch, table)
    place = table.uneven()
    if place is not None:
        row, column = place
        log.warning(
            "%s, line %d, column %d: the energy %g eV is far from a smooth curve through those of "
            "the lines around it, and forces will jump there; see whether it is right",
            use.file,
            line_of(use.file, row),
            column + 2,
            table.energies[row, column],
        )


def _warn_of_switch(file: str, switch: tuple[float, float], table: PairTable) -> None:
    rmin, rmax = switch
    if table.end < rmax:
        log.warning(
            "%s: the table of pair potentials ends at %g Å, below model.sw_rmax (%g Å), up to "
            "which its energies count; see whether its distances are in Å, and let it reach "
            "sw_rmax",
            file,
            table.end,
            rmax,
        )
    if table.begin >= rmin:
        log.warning(
            "%s: the table of pair potentials begins at %g Å, above model.sw_rmin (%g Å): frames "
            "with closer atoms are refused; let it begin below any distance that can occur",
            file,
            table.begin,
            rmin,
        )


def _require_same(use: Use, found: Coefficients, known: Coefficients, saved: SavedModel) -> None:
    """The table decides what the nets have learnt, so they belong together."""
    scale = max(1.0, float(np.abs(known[1]).max()))
    if found[1].shape == known[1].shape and all(
        np.allclose(one, other, rtol=1e-9, atol=1e-12 * scale)
        for one, other in zip(found, known, strict=True)
    ):
        return
    kind = CheckpointError if saved.dialect == "checkpoint" else ModelFileError
    raise kind(
        f"{saved.path}: was trained with another table of pair potentials than {use.file}, or with "
        f"another cutoff; give {use.key} the table that it was trained "
        "with, or train without it"
    )
