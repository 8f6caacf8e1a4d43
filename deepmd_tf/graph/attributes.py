# SPDX-License-Identifier: BSD-3-Clause
"""Constants by which a graph describes its model to the programs that load it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.config import ModelConfig


def add_attributes(
    model: ModelConfig,
    script: Mapping[str, Any],
    *,
    type_map: Sequence[str],
    min_nbor_dist: float | None,
    interface_dtype: tf.DType,
    original_sel: Sequence[int] | None = None,
) -> list[str]:
    """Add the attribute nodes of an energy model to the default graph.

    Both a training graph, whose ``.meta`` file is read when it is frozen, and a frozen graph carry
    them.

    Parameters
    ----------
    model
        Section ``model`` of the input script, with ``sel`` resolved.
    script
        The whole input script, which is stored.
    type_map
        Names of the atom types.
    min_nbor_dist
        Smallest distance in the training data, angstrom; None when it was not measured, the node is
        then absent.
    interface_dtype
        Type of coordinates and forces; announced by the dtype of the cutoff.
    original_sel
        ``sel`` that the moments are normalised by; default: that of the descriptor.

    Returns
    -------
    list of str
        Names of the nodes.
    """
    descriptor, fitting = model.descriptor, model.fitting_net
    sel = np.asarray(descriptor.sel, np.int32)
    real = interface_dtype.as_numpy_dtype
    values = {
        names.MODEL_KIND: names.KIND_ORIGINAL,
        names.TRAINING_SCRIPT: json.dumps(script, separators=(",", ":")),
        names.MIN_NBOR_DIST: None if min_nbor_dist is None else np.float64(min_nbor_dist),
        names.TYPE_MAP: " ".join(type_map),
        names.MODEL_TYPE: names.MODEL_TYPE_ENERGY,
        names.MODEL_VERSION: names.SUPPORTED_VERSION,
        names.RCUT: real(descriptor.rcut),
        names.NTYPES: np.int32(len(sel)),
        names.NDESCRPT: np.int32(4 * sel.sum()),
        names.SEL: sel,
        names.ORIGINAL_SEL: sel if original_sel is None else np.asarray(original_sel, np.int32),
        names.DFPARAM: np.int32(fitting.numb_fparam),
        names.DAPARAM: np.int32(fitting.numb_aparam),
    }
    written = [name for name in names.ATTRIBUTES if values[name] is not None]
    for name in written:
        node = tf.constant(values[name], name=name)
        if node.op.name != name:
            raise ValueError(f'the graph has a node "{name}" already, or a name scope is open')
    return written
