# SPDX-License-Identifier: BSD-3-Clause
"""Sees that all ranks are told the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from deepmd_tf.environment_variables import MPI as SWITCH
from deepmd_tf.errors import InputError
from deepmd_tf.parallel.ranks import Ranks

SHOWN = 60
"""Letters of a value that a message has."""


def require_same(ranks: Ranks, facts: Mapping[str, str]) -> None:
    """See that what is named has the same value on all ranks.

    Raises
    ------
    InputError
        If not.
    """
    if ranks.size == 1:
        return
    digests = {name: hashlib.sha256(value.encode()).hexdigest() for name, value in facts.items()}
    found = ranks.objects([(name, facts[name][:SHOWN], digests[name]) for name in facts])
    for rank, other in enumerate(found[1:], 1):
        for (name, here, digest), (_, there, its) in zip(found[0], other, strict=True):
            if digest == its:
                continue
            values = f" ({there} instead of {here})" if max(len(here), len(there)) < SHOWN else ""
            raise InputError(
                f"{name}: that of {ranks.name(rank)} differs from that of {ranks.name(0)}{values}; "
                "processes that work together need the same input, data and versions. To let each "
                f"work for itself set {SWITCH}=off"
            )
