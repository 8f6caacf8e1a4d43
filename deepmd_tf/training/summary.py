# SPDX-License-Identifier: BSD-3-Clause
"""What a training says of itself before it begins."""

from __future__ import annotations

import logging
import os

import tensorflow.compat.v1 as tf

import deepmd_tf
from deepmd_tf.config import Config
from deepmd_tf.data import DataSystems
from deepmd_tf.graph.session import session_config
from deepmd_tf.nn.precision import interface_dtype
from deepmd_tf.ops.device import wanted, why_not_gpu

log = logging.getLogger(__name__)


def log_summary(
    config: Config, training_data: DataSystems, validation_data: DataSystems | None
) -> None:
    """Log versions, precision, threads and the data."""
    threads = session_config()
    rule = "-" * 86
    lines = [
        f"---Summary of the training {rule[27:]}",
        f"deepmd_tf             {deepmd_tf.__version__}",
        f"TensorFlow            {tf.__version__}",
        f"device                {_device()}",
        f"interface precision   {interface_dtype().name}",
        f"threads in an op      {threads.intra_op_parallelism_threads or 'automatic'}",
        f"ops at a time         {threads.inter_op_parallelism_threads or 'automatic'}",
        f"processors            {len(os.sched_getaffinity(0))}",
        rule,
        *training_data.summary("training").splitlines(),
    ]
    if validation_data is not None:
        lines += validation_data.summary("validation").splitlines()
    for line in lines:
        log.info(line)
    n = config.model.main.fitting_net.numb_fparam
    log.info(f"training with {n} frame parameter(s)" if n else "training without frame parameter")


def _device() -> str:
    return "GPU" if wanted() == "gpu" and why_not_gpu(tf) is None else "processor"
