# SPDX-License-Identifier: BSD-3-Clause
"""Constants by which a graph describes its model to the programs that load it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.config import AnyModelConfig, FittingConfig, FittingDos, FittingTensor
from deepmd_tf.descriptors import environments_of


def add_attributes(
    model: AnyModelConfig,
    script: Mapping[str, Any],
    *,
    type_map: Sequence[str],
    min_nbor_dist: float | None,
    interface_dtype: tf.DType,
    original_sel: Mapping[str, Sequence[int]] | None = None,
    kind: str = names.KIND_ORIGINAL,
    native: bool = False,
) -> list[str]:
    """Add the attribute nodes of a model to the default graph.

    Both a training graph, whose ``.meta`` file is read when it is frozen, and a frozen graph carry
    them.

    Parameters
    ----------
    model
        Section ``model`` of the input script, with ``sel`` resolved.
    script
        The whole input script, which is stored; ``default_fparam`` in a node of its own.
    type_map
        Names of the atom types.
    min_nbor_dist
        Smallest distance in the training data, angstrom; None when it was not measured, the node is
        then absent.
    interface_dtype
        Type of coordinates and forces; announced by the dtype of the cutoff.
    original_sel
        ``sel`` that sums over neighbours are divided by, by the scope of the environment; default:
        those of the descriptor.
    kind
        :data:`deepmd_tf.names.KIND_ORIGINAL` or :data:`deepmd_tf.names.KIND_COMPRESSED`.
    native
        Whether the graph has operations of this package, whose format is then written, too.

    Returns
    -------
    list of str
        Names of the nodes.
    """
    fitting = model.main.fitting_net
    default_fparam = fitting.default_fparam
    real = interface_dtype.as_numpy_dtype
    values = {
        names.MODEL_KIND: kind,
        names.TRAINING_SCRIPT: json.dumps(_for_stock(script)),
        names.MIN_NBOR_DIST: None if min_nbor_dist is None else np.float64(min_nbor_dist),
        names.TYPE_MAP: " ".join(type_map),
        names.MODEL_TYPE: fitting.type,
        names.MODEL_VERSION: names.SUPPORTED_VERSION,
        names.NATIVE_FORMAT: np.int32(names.SUPPORTED_NATIVE_FORMAT) if native else None,
        names.RCUT: real(model.largest_rcut),
        names.NTYPES: np.int32(model.known_ntypes),
        names.DFPARAM: np.int32(fitting.numb_fparam),
        names.DAPARAM: np.int32(model.numb_aparam),
        names.DEFAULT_FPARAM: np.asarray(default_fparam) if default_fparam else None,
        **of_fitting(fitting, model.known_ntypes),
    }
    if model.masked or model.fragmented:
        values[names.APARAM_NALL] = np.bool_(True)
    spin = model.main.spin
    if spin is not None:
        values[names.NTYPES_SPIN] = np.int32(spin.count)
        values[names.VIRTUAL_LEN] = np.asarray(spin.virtual_len, real)
        values[names.SPIN_NORM] = np.asarray(spin.spin_norm, real)
    values |= _of_members(model, real)
    for spec in environments_of(model, model.known_ntypes):
        if not spec.normalised:
            continue
        sel = np.asarray(spec.selection.counts, np.int32)
        original = (
            sel if original_sel is None else np.asarray(original_sel.get(spec.scope, sel), np.int32)
        )
        for name, value in zip(
            names.OF_ENVIRONMENT, (np.int32(spec.row_width), sel, original), strict=True
        ):
            values[names.suffixed(name, spec.scope)] = value
    written = [name for name in names.ATTRIBUTES if values.get(name) is not None]
    written += [name for name in values if name not in names.ATTRIBUTES]
    for name in written:
        node = tf.constant(values[name], name=name)
        if node.op.name != name:
            raise ValueError(f'the graph has a node "{name}" already, or a name scope is open')
    return written


def of_fitting(fitting: FittingConfig, ntypes: int) -> dict[str, Any]:
    """What only some kinds of models have; None stands for what others have and they do not."""
    if isinstance(fitting, FittingTensor):
        selected = np.array(fitting.selected(ntypes), np.int32)
        return {
            names.SEL_TYPE: selected,
            names.OUTPUT_DIM: np.int32(fitting.width),
            names.DFPARAM: None,
            names.DAPARAM: None,
        }
    if isinstance(fitting, FittingDos):
        points = np.int32(fitting.numb_dos)
        return {names.OUTPUT_DIM: points, names.NUMB_DOS: points}
    return {}


def _of_members(model: AnyModelConfig, real: type) -> dict[str, Any]:
    """What DeePMD-kit writes of each of several models."""
    return {
        names.in_model(name, member.scope): value
        for member in model.members()
        if member.scope
        for name, value in {
            names.TYPE_MAP: " ".join(model.type_map or ()),
            names.MODEL_TYPE: names.MODEL_TYPE_ENERGY,
            names.MODEL_VERSION: names.SUPPORTED_VERSION,
            names.RCUT: real(max(part.config.largest_rcut for part in member.config.own_parts())),
            names.NTYPES: np.int32(model.known_ntypes),
            names.DFPARAM: np.int32(0),
            names.DAPARAM: np.int32(0),
        }.items()
    }


def _for_stock(script: Mapping[str, Any]) -> dict[str, Any]:
    """The script without ``default_fparam``: programs of stock DeePMD-kit that build the model from
    it, as for compression, refuse the key.
    """
    model = script["model"]
    if model.get("fitting_net", {}).get("default_fparam") is None:
        return dict(script)
    fitting = {key: v for key, v in model["fitting_net"].items() if key != "default_fparam"}
    return {**script, "model": {**model, "fitting_net": fitting}}
