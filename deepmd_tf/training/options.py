# SPDX-License-Identifier: BSD-3-Clause
"""Arguments of ``dp train``."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class TrainOptions:
    """Arguments of ``dp train``.

    At most one of ``init_model``, ``restart``, ``init_frz_model`` and ``finetune`` is given.

    Parameters
    ----------
    input_file
        Input script.
    init_model
        Prefix of a checkpoint whose weights are the first ones; training begins at step 0. A folder
        stands for the checkpoint that its file ``checkpoint`` names.
    restart
        Prefix of a checkpoint (or folder) to resume from. The numbers are those of an uninterrupted
        training with the same number of threads.
    init_frz_model
        Frozen file, of this package or of DeePMD-kit, whose weights and statistics are the first
        ones.
    finetune
        Trained model, a frozen file or a checkpoint, whose weights and statistics are the first
        ones. Its descriptor, fitting net and types take the place of those of the input script, and
        its energy bias is adjusted to the training data
        (:func:`deepmd_tf.model.bias.adjusted_bias`).
    use_pretrain_script
        Take section ``model`` from ``init_model``, ``init_frz_model`` or ``finetune``.
    output
        Where the input script is written with all defaults filled in.
    skip_neighbor_stat
        Do not count neighbours; see :func:`deepmd_tf.training.neighbor_counts.without_neighbors`.
    dry_run
        Do everything up to the first steps, print what would be trained and how long it would take,
        and stop; no file is written.
    max_time
        Seconds from now within which training is to end, the time for a last checkpoint included.
    """

    input_file: str | os.PathLike[str]
    init_model: str | None = None
    restart: str | None = None
    init_frz_model: str | None = None
    finetune: str | None = None
    use_pretrain_script: bool = False
    output: str | os.PathLike[str] = "out.json"
    skip_neighbor_stat: bool = False
    dry_run: bool = False
    max_time: float | None = None
