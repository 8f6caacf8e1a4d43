# SPDX-License-Identifier: BSD-3-Clause
"""Types of which a training has atoms: nets that only others need are at rest."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from deepmd_tf import names
from deepmd_tf.data import DataSystems
from deepmd_tf.errors import CheckpointError
from deepmd_tf.graph.checkpoint_files import READER_ERRORS, open_reader
from deepmd_tf.graph.saving import MOMENTS
from deepmd_tf.graph.session import plain_message

log = logging.getLogger(__name__)


def occurring_types(data: Iterable[DataSystems | None], checkpoint: Path | None) -> set[int]:
    """Types whose nets a training changes or evaluates.

    Parameters
    ----------
    data
        Training and validation data.
    checkpoint
        What the training goes on from. Types that its training had count as well: with the moments
        that are in it the optimizer goes on to change their nets.

    Raises
    ------
    CheckpointError
        If the checkpoint cannot be read.
    """
    found: set[int] = set()
    for systems in data:
        for system in systems.systems if systems is not None else ():
            found |= system.occurring
    return found if checkpoint is None else found | _moving(checkpoint)


def _moving(checkpoint: Path) -> set[int]:
    """Centre types of the nets whose moments are not all zero."""
    try:
        found: set[int] = set()
        with open_reader(checkpoint) as reader:
            for name in reader.get_variable_to_shape_map():
                weight, _, moment = name.rpartition("/")
                center = names.center_type(weight) if names.weight_owner(weight) else None
                if moment not in MOMENTS or center is None or center in found:
                    continue
                if np.any(reader.get_tensor(name)):
                    found.add(center)
    except READER_ERRORS as error:
        raise CheckpointError(
            f"{checkpoint}: the checkpoint cannot be read ({plain_message(error)}); take another "
            "one"
        ) from None
    return found
