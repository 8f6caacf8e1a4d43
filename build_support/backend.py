# SPDX-License-Identifier: BSD-3-Clause
"""Build backend: setuptools, plus a TensorFlow to build against where the target has none."""

from __future__ import annotations

from find_tensorflow import REQUIREMENTS, find
from setuptools import build_meta
from setuptools.build_meta import (  # noqa: F401
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)


def get_requires_for_build_wheel(config_settings=None) -> list[str]:
    requires = build_meta.get_requires_for_build_wheel(config_settings)
    return requires if find(target_only=True) else [*requires, *REQUIREMENTS]


def get_requires_for_build_editable(config_settings=None) -> list[str]:
    requires = build_meta.get_requires_for_build_editable(config_settings)
    return requires if find(target_only=True) else [*requires, *REQUIREMENTS]
