# SPDX-License-Identifier: BSD-3-Clause
"""Description of a model without evaluating it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deepmd_tf import names
from deepmd_tf.descriptors import environments_of
from deepmd_tf.graph.saved import SavedModel


def parameter_counts(model: SavedModel) -> dict[str, int]:
    """Numbers of weights of the nets: "descriptor", "fitting-net", "type-embedding" where there is
    one, and "total".

    Statistics (normalisation, energy bias) do not count; a weight that several layers share counts
    once.
    """
    counts = {"descriptor": 0, "fitting-net": 0}
    for name, array in model.weights.items():
        owner = names.weight_owner(name)
        if owner is not None:
            counts[owner] = counts.get(owner, 0) + array.size
    return {**counts, "total": sum(counts.values())}


def observed_types(model: SavedModel) -> list[str]:
    """Names of the types that were in the data from which the normalisation was found.

    A type without atoms in them has the standard deviation 1/rcut in all columns; the others have
    different ones for distances and directions.

    Returns
    -------
    list of str
        In the order of the type map; numbers where the types have no names.
    """
    environments = environments_of(model.model, model.ntypes)
    first = next(spec for spec in environments if spec.normalised)
    if first.masked:  # every frame has these atoms
        return [name for name, n in zip(_known(model), first.selection.counts, strict=True) if n]
    std = model.weights[names.suffixed(names.T_STD, first.scope)]
    absent = np.all(std == std.dtype.type(1.0 / first.cutoff.given[0]), axis=1)
    absent = absent[: model.ntypes - model.virtual_types]
    return [name for name, missing in zip(_known(model), absent, strict=True) if not missing]


def _known(model: SavedModel) -> Sequence[str]:
    return model.type_map or [str(i) for i in range(model.ntypes)]
