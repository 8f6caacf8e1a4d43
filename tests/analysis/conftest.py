# SPDX-License-Identifier: BSD-3-Clause
"""Models and data that the tests of this folder share."""

from __future__ import annotations

import pytest
import small_training
from saved_models import save_checkpoint, small_input

from deepmd_tf.export.freeze import freeze


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Two models with random weights (``1.pb``, ``2.pb``; checkpoints ``1``, ``2``), and ``data``
    with the energies of another potential."""
    root = tmp_path_factory.mktemp("analysis")
    small_training.write_all_data(root)
    for i in (1, 2):
        (root / f"{i}").mkdir()
        prefix, _ = save_checkpoint(root / f"{i}", small_input({"seed": i}, {"seed": i}))
        freeze(prefix, root / f"{i}.pb")
    return root


@pytest.fixture(scope="module", autouse=True)
def plain_sessions(without_rewriting: None) -> None:
    """What is computed with models here: other tests evaluate them as users do."""
