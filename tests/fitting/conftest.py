# SPDX-License-Identifier: BSD-3-Clause
"""One test for each case of a fitting."""

from __future__ import annotations

import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``case`` is each name in the ``cases`` of the class of the test."""
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", metafunc.cls.cases)
