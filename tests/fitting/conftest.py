# SPDX-License-Identifier: BSD-3-Clause
"""One test for each case of a fitting, and the tests of a case one after the other."""

from __future__ import annotations

import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``case`` is each name in the ``cases`` of the class of the test.

    By its scope all tests of a case follow each other, while the graphs of the case are kept.
    """
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", metafunc.cls.cases, scope="class")
