# SPDX-License-Identifier: BSD-3-Clause
"""The reference page holds every key of the classes."""

from __future__ import annotations

import re

from deepmd_tf.config import Config
from deepmd_tf.config.reference import markdown
from deepmd_tf.config.section import about, walk


def test_every_section_and_key_is_there():
    page = markdown()
    for path, cls in walk(Config):
        if path and cls.model_fields:
            assert f"## `{path}`" in page
        for name, field in cls.model_fields.items():
            assert f"| `{name}` |" in page
            for alias in about(field)["aliases"]:
                assert f"`{alias}`" in page
        for key in (*cls.refused, *(cls.ignored if cls.model_fields else ())):
            assert f"`{key}`" in page


def test_tables_have_four_columns_and_no_stray_markup():
    rows = [line for line in markdown().splitlines() if line.startswith("|")]
    assert len(rows) > 80
    for row in rows:
        assert len(re.findall(r"(?<!\\)\|", row)) == 5, row
        assert not re.search(r"(?<![\\`])<", row.replace("`<", "")), row


def test_defaults_and_units_are_shown():
    page = markdown()
    assert "| `rcut` | a number \\> 0 and ≤ 1000, in Å | `6.0` | Cutoff radius. |" in page
    assert "| `start_lr` | a number \\> 0 and ≤ 1e+30 | required |" in page
    assert "*Not yet.* Width of the embedding of data sets." in page
