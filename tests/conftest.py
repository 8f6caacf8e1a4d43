# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures of all tests."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in each run."""
    return np.random.default_rng(20240101)
