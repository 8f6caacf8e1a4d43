# SPDX-License-Identifier: BSD-3-Clause
"""Tabulated pair potentials: the files that hold them, and what models make of them."""

from __future__ import annotations

from deepmd_tf.pair_table.reading import read_pair_table
from deepmd_tf.pair_table.table import Coefficients, PairTable

__all__ = ["Coefficients", "PairTable", "read_pair_table"]
