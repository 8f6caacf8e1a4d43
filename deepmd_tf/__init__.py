# SPDX-License-Identifier: BSD-3-Clause
"""Deep potentials in TensorFlow: training, freezing and evaluation. Importing it does not import TensorFlow."""

from __future__ import annotations

__version__ = "0.1.0"
