# SPDX-License-Identifier: BSD-3-Clause
"""What takes long and is the same for every descriptor is a slow test of most of them."""

from __future__ import annotations

import pytest

OF_VARIANTS = (
    "test_restart_to_the_bit",
    "test_training_on_hessians",
    "test_freeze_and_read_back",
    "test_hessian_is_the_derivative_of_the_force",
)
"""Slow for variants of a descriptor, as another class has them."""
HESSIANS = "test_training_on_hessians"
"""Slow but for those of :attr:`DescriptorContract.hessians_in_short`."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them, before tests are chosen by their marks."""
    for item in items:
        of_variant = getattr(item.cls, "variant", False) and item.originalname in OF_VARIANTS
        of_hessians = item.originalname == HESSIANS and not item.cls.hessians_in_short
        if of_variant or of_hessians:
            item.add_marker(pytest.mark.slow)
