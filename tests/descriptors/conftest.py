# SPDX-License-Identifier: BSD-3-Clause
"""Trainings of variants of a descriptor are slow tests."""

from __future__ import annotations

import pytest

TRAININGS = ("test_restart_to_the_bit", "test_training_on_hessians")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them, before tests are chosen by their marks."""
    for item in items:
        if getattr(item.cls, "variant", False) and item.originalname in TRAININGS:
            item.add_marker(pytest.mark.slow)
