# SPDX-License-Identifier: BSD-3-Clause
"""Systems in files, opened for a model: what it needs is read."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from deepmd_tf import fields
from deepmd_tf.data import DataSystem
from deepmd_tf.data.checks.findings import Findings
from deepmd_tf.elements import names_of_types
from deepmd_tf.fields import Field
from deepmd_tf.inference.deep_eval import DeepEval

log = logging.getLogger(__name__)


def open_system(path: str, pot: DeepEval, labels: Sequence[Field] = ()) -> DataSystem:
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
        names_of_types(pot.get_type_map(), pot.get_ntypes()) or None,
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


def open_all(paths: Sequence[str], pot: DeepEval, labels: Sequence[Field] = ()) -> list[DataSystem]:
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
