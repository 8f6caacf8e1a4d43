# SPDX-License-Identifier: BSD-3-Clause
"""Systems in files, evaluated by a model: what it needs is read, what it refuses is named."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from deepmd_tf import fields
from deepmd_tf.data import Batch, DataSystem
from deepmd_tf.data.checks.findings import Findings
from deepmd_tf.errors import DataError
from deepmd_tf.fields import Field
from deepmd_tf.graph.refusals import FrameError
from deepmd_tf.inference.deep_pot import DeepPot

log = logging.getLogger(__name__)


def open_system(path: str, pot: DeepPot, labels: Sequence[Field] = ()) -> DataSystem:
    """Open a system for ``pot``: types by its type map, its frame and atomic parameters, and
    ``labels``. Atoms stay in the order of the files.

    Raises
    ------
    DataError
        If the system cannot be read, or has elements that the model does not have.
    """
    default_fparam = pot.get_default_fparam()
    items = fields.model_inputs(pot.get_dim_fparam(), pot.get_dim_aparam(), default_fparam)
    data = DataSystem(
        path,
        pot.get_type_map() or None,
        fields=(*labels, *items),
        sort_atoms=False,
        ntypes=pot.get_ntypes(),
    )
    if default_fparam is not None and not all(data.has(fields.FPARAM.name)):
        log.info(
            "%s: fparam.npy is not in every set; where it is not, %s is used, the default of the "
            "model",
            path,
            default_fparam,
        )
    return data


def open_all(paths: Sequence[str], pot: DeepPot, labels: Sequence[Field] = ()) -> list[DataSystem]:
    """As :func:`open_system`, before the first of the systems is evaluated, which may take long.

    Raises
    ------
    FindingsError
        With everything that is wrong with any of them.
    """
    opened, findings = [], Findings()
    for path in paths:
        with findings.collect():
            opened.append(open_system(path, pot, labels))
    findings.raise_errors()
    return opened


def evaluate(
    method: Callable[..., Any],
    data: DataSystem,
    batch: Batch,
    *,
    types: np.ndarray | None = None,
    **options: Any,
) -> Any:
    """``method`` of a :class:`DeepPot`, ``eval`` or another one with its arguments, on a batch.

    Parameters
    ----------
    method
        What is called.
    data, batch
        The system, opened for that model, and frames of it.
    types
        Types of the atoms, where they are not those of the batch.
    options
        Further arguments of ``method``.

    Raises
    ------
    DataError
        When a frame cannot be evaluated; the message names file and frame.
    """
    arrays = batch.arrays
    try:
        return method(
            arrays["coord"],
            arrays["box"] if data.pbc else None,
            arrays["type"] if types is None else types,
            fparam=arrays.get("fparam"),
            aparam=arrays.get("aparam"),
            mixed_type=types is None,
            **options,
        )
    except FrameError as error:
        frame, atoms = data.origin(batch, error.frame)
        raise DataError(
            f"{data.where(batch.set_name, fields.COORD.name)}: "
            f"{error.renumber({error.frame: frame}, atoms)}; {error.remedy}"
        ) from None
