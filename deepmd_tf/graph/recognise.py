# SPDX-License-Identifier: BSD-3-Clause
"""What an input script in a model file leaves out, read from the weights beside it.

DeePMD-kit completes the script before it trains. Other writers do not, such as
``dp convert-backend``, and their defaults are others: only the weights tell what the model is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import count, product
from typing import Any

import numpy as np

from deepmd_tf import names
from deepmd_tf.config import AnyDescriptorConfig
from deepmd_tf.config.type_embedding import UNASKED
from deepmd_tf.elements import spin_orbitals

_ANGULAR = ("se_e2_a", "se_a")
_THREE_BODY = ("se_e3", "se_at", "se_a_3be", "se_t")
_KNOWN = (*_ANGULAR, "se_e2_r", "se_r", *_THREE_BODY)
Weights = Mapping[str, np.ndarray]


def complete(model: dict[str, Any], weights: Weights, attributes: Weights) -> None:
    """Give keys that are missing the values that the file shows.

    ``type_one_side`` is what the names of the weights say, whatever the script says.

    Parameters
    ----------
    model
        Section ``model`` of the script, which is changed.
    weights, attributes
        Constants of the file, by name.
    """
    parts = AnyDescriptorConfig.sections(model["descriptor"])
    # what is no number of types is told where attributes are compared with the script
    ntypes = np.nan_to_num(np.float64(attributes.get(names.NTYPES, 0)), posinf=0.0, neginf=0.0)
    others = any(part.get("type", _KNOWN[0]) not in _KNOWN for _, part in parts)
    embedded = _embedded_types(model, weights, int(ntypes), others)
    if others:
        return
    fitting = model.setdefault("fitting_net", {})
    keys = [(fitting, "numb_fparam", names.DFPARAM), (fitting, "numb_aparam", names.DAPARAM)]
    keys += [(part, "sel", names.suffixed(names.SEL, scope)) for scope, part in parts]
    if len(parts) == 1:  # of several it is the largest
        keys.append((parts[0][1], "rcut", names.RCUT))
    for section, key, name in keys:
        if name in attributes:
            section.setdefault(key, np.maximum(attributes[name], 0).tolist())
    if embedded:
        return  # written by programs that complete the script
    types = range(int(min(max(ntypes, 0), len(weights))))
    columns = [_embedding(part, weights, types, scope) for scope, part in parts]
    features = _fitting(fitting, weights, types)
    descriptor = parts[0][1]
    has_axis = descriptor.get("type", _KNOWN[0]) not in _ANGULAR or (
        {"axis_neuron", "n_axis_neuron"} & descriptor.keys()
    )
    if len(parts) == 1 and columns[0] and features and not has_axis:
        descriptor["axis_neuron"] = features // columns[0]


def _embedded_types(model: dict[str, Any], weights: Weights, ntypes: int, asked: bool) -> bool:
    """Whether there is a type embedding; its section is completed. DeePMD-kit before 3.0 always
    gave it biases, and had no key for that.

    Parameters
    ----------
    ntypes
        Number of types.
    asked
        Whether the model has one without a section, as descriptors that ask for one do.
    """
    matrix = weights.get(names.type_embedding_matrix(1))
    if matrix is None:
        return False
    has_bias = names.type_embedding_bias(1) in weights
    section = model.get("type_embedding")
    if section is None:
        section = {
            "neuron": _widths(weights, 1, names.type_embedding_matrix),
            "activation_function": "linear",
        }
        if any(names.type_embedding_idt(k + 1) in weights for k in range(len(section["neuron"]))):
            section["resnet_dt"] = True
        if len(matrix) == len(spin_orbitals("H")) != ntypes:
            section["use_econf_tebd"] = True
        if not (asked and section == UNASKED and not has_bias):
            model["type_embedding"] = section
    if isinstance(section, dict):
        section["use_tebd_bias"] = has_bias
    return True


def _embedding(
    descriptor: dict[str, Any], weights: Weights, types: range, suffix: str
) -> int | None:
    """Complete the embedding nets; the width of the last layer."""
    sides = {center: names.embedding_scope(center, suffix) for center in (None, *types)}
    found = [c for c, scope in sides.items() if any(w.startswith(f"{scope}/") for w in weights)]
    neighbors: Iterable[names.Neighbor] = types
    if descriptor.get("type") in _THREE_BODY:
        neighbors = [(t, t) for t in types]
    elif found:
        descriptor["type_one_side"] = found[0] is None
    for center, neighbor in product(found, neighbors):
        net = {"center": center, "neighbor": neighbor, "suffix": suffix}
        widths = _widths(weights, 1, partial(names.embedding_matrix, **net))
        if widths:
            idt = [names.embedding_idt(k + 1, **net) for k in range(len(widths))]
            _describe(descriptor, widths, any(name in weights for name in idt))
            return widths[-1]
    return None


def _fitting(fitting: dict[str, Any], weights: Weights, types: range) -> int | None:
    """Complete the fitting nets; the number of features of an atom that they take."""
    for atom_type in types:
        widths = _widths(weights, 0, partial(names.fitting_matrix, atom_type=atom_type))
        if widths:
            idt = [names.fitting_idt(k, atom_type) for k in range(len(widths))]
            _describe(fitting, widths, any(name in weights for name in idt))
            inputs = len(weights[names.fitting_matrix(0, atom_type)])
            unused = "numb_aparam" if fitting.get("use_aparam_as_mask") else None
            keys = {"numb_fparam", "numb_aparam"} - {unused}
            return inputs - sum(fitting.get(key, 0) for key in keys)
    return None


def _widths(weights: Weights, first: int, name_of: Callable[[int], str]) -> list[int]:
    """Widths of the layers of a net, as long as there are some."""
    found = []
    for layer in count(first):
        matrix = weights.get(name_of(layer))
        if matrix is None or matrix.ndim != 2:
            break
        found.append(matrix.shape[1])
    return found


def _describe(section: dict[str, Any], widths: list[int], has_idt: bool) -> None:
    if not {"neuron", "n_neuron"} & section.keys():
        section["neuron"] = widths
    section.setdefault("resnet_dt", has_idt)
