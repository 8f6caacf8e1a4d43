# SPDX-License-Identifier: BSD-3-Clause
"""Batches of a system, evaluated by a model: what it refuses is named by file and frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from deepmd_tf import fields
from deepmd_tf.data import Batch, DataSystem
from deepmd_tf.errors import DataError
from deepmd_tf.graph.refusals import FrameError


def evaluate(
    method: Callable[..., Any],
    data: DataSystem,
    batch: Batch,
    *,
    types: np.ndarray | None = None,
    **options: Any,
) -> Any:
    """``method`` of an evaluator, ``eval`` or another one with its arguments, on a batch.

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
