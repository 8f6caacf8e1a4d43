# SPDX-License-Identifier: BSD-3-Clause
"""The table of pair potentials of a model that is trained."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deepmd_tf.config import ModelConfig
from deepmd_tf.errors import CheckpointError, InputError, ModelFileError
from deepmd_tf.graph.saved import SavedModel
from deepmd_tf.pair_table import PairTable, read_pair_table
from deepmd_tf.pair_table.reading import line_of

log = logging.getLogger(__name__)

MOST_ROWS = 1_000_000
"""What the operations take."""
Coefficients = tuple[np.ndarray, np.ndarray]
"""See :meth:`deepmd_tf.pair_table.PairTable.coefficients`."""


def find_pair_table(
    model: ModelConfig, type_map: Sequence[str], ntypes: int, saved: SavedModel | None
) -> Coefficients | None:
    """The table of ``use_srtab``, continued to the cutoff; None for a model without.

    Parameters
    ----------
    model
        Section of the input script.
    type_map, ntypes
        Names of the types, maybe none, and their number.
    saved
        The model that training begins with. Its table must be that of the file; where there is no
        file any more it is taken.

    Raises
    ------
    InputError
        When the file is wrong.
    CheckpointError, ModelFileError
        When it holds another table than the saved model.
    """
    if model.use_srtab is None:
        return None
    known = None if saved is None else saved.pair_table
    if known is not None and saved is not None and not Path(model.use_srtab).exists():
        log.info("the table of pair potentials is that of %s", saved.path)
        return known
    table = read_pair_table(model.use_srtab, type_map, ntypes)
    log.info("table of pair potentials %s: %s", model.use_srtab, table.describe(type_map))
    _require_range(model, table)
    _warn(model, table)
    table, warning = table.continued(model.descriptor.largest_rcut)
    if warning:
        log.warning("%s: %s", model.use_srtab, warning)
    found = table.coefficients()
    if known is not None and saved is not None:
        _require_same(model.use_srtab, found, known, saved)
    return found


def require_reached(model: ModelConfig, table: Coefficients | None, smallest: float | None) -> None:
    """Refuse a table that begins above the smallest distance in the training data, Å.

    Raises
    ------
    InputError
        With both distances.
    """
    if table is None or smallest is None:
        return
    begin = float(table[0][0])
    if smallest < begin:
        raise InputError(
            f"{model.use_srtab}: the table of pair potentials begins at {begin:g} Å, but there are "
            f"atoms {smallest:.4g} Å apart in the training data; let the table begin below any "
            "distance that can occur"
        )


def _require_range(model: ModelConfig, table: PairTable) -> None:
    """Refuse distances that cannot be in Å, or where the table is not used."""
    _, rmin, rmax = model.switch_to_table
    rows = table.rows_to(model.descriptor.largest_rcut)
    if rows > MOST_ROWS:
        raise InputError(
            f"{model.use_srtab}: the distances of the table of pair potentials are {table.step:g} "
            f"Å apart, and up to rcut it would have {rows:.2g} rows, more than {MOST_ROWS}; "
            "distances are in Å: see whether these are, or give larger steps"
        )
    if table.begin >= rmax:
        raise InputError(
            f"{model.use_srtab}: the table of pair potentials begins at {table.begin:g} Å, but its "
            f"energies are used below model.sw_rmax, {rmax:g} Å, only; let it begin below any "
            "distance that can occur"
        )
    if table.end < rmin:
        raise InputError(
            f"{model.use_srtab}: the table of pair potentials ends at {table.end:g} Å, below "
            f"model.sw_rmin ({rmin:g} Å), up to which its energies are the only ones; distances "
            "are in Å: see whether these are, and let the table reach sw_rmax"
        )


def _warn(model: ModelConfig, table: PairTable) -> None:
    _, rmin, rmax = model.switch_to_table
    if table.end < rmax:
        log.warning(
            "%s: the table of pair potentials ends at %g Å, below model.sw_rmax (%g Å), up to "
            "which its energies count; see whether its distances are in Å, and let it reach "
            "sw_rmax",
            model.use_srtab,
            table.end,
            rmax,
        )
    if table.begin >= rmin:
        log.warning(
            "%s: the table of pair potentials begins at %g Å, above model.sw_rmin (%g Å): frames "
            "with closer atoms are refused; let it begin below any distance that can occur",
            model.use_srtab,
            table.begin,
            rmin,
        )
    place = table.uneven()
    if place is not None:
        row, column = place
        log.warning(
            "%s, line %d, column %d: the energy %g eV is far from a smooth curve through those of "
            "the lines around it, and forces will jump there; see whether it is right",
            model.use_srtab,
            line_of(str(model.use_srtab), row),
            column + 2,
            table.energies[row, column],
        )


def _require_same(path: str, found: Coefficients, known: Coefficients, saved: SavedModel) -> None:
    """The table decides what the nets have learnt, so they belong together."""
    scale = max(1.0, float(np.abs(known[1]).max()))
    if found[1].shape == known[1].shape and all(
        np.allclose(one, other, rtol=1e-9, atol=1e-12 * scale)
        for one, other in zip(found, known, strict=True)
    ):
        return
    kind = CheckpointError if saved.dialect == "checkpoint" else ModelFileError
    raise kind(
        f"{saved.path}: was trained with another table of pair potentials than {path}, or with "
        "another cutoff; give model.use_srtab the table that it was trained "
        "with, or train without it"
    )
