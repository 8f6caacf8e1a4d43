# SPDX-License-Identifier: BSD-3-Clause
"""Whether this process was started as one of several, by what a launcher leaves it to know."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass

from deepmd_tf.environment_variables import MPI
from deepmd_tf.errors import InputError

log = logging.getLogger(__name__)

LAUNCHERS = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "mpirun of Open MPI"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE", "mpirun of MVAPICH"),
    ("PMI_RANK", "PMI_SIZE", "mpiexec of MPICH, Intel MPI or the like"),
    ("FLUX_TASK_RANK", "FLUX_JOB_SIZE", "flux run"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "srun"),
)
"""Variables with rank and number of processes, and who sets them; the first that is set counts.
An mpirun within a job of Slurm is asked before Slurm."""


@dataclass(frozen=True)
class Launch:
    """What a launcher says of this process.

    Attributes
    ----------
    rank, size
        Which of how many processes this is.
    launcher
        Who says so, in words.
    variable
        Variable of the environment with the number of processes.
    """

    rank: int
    size: int
    launcher: str
    variable: str


def find_launch() -> Launch | None:
    """How this process was started; None if it is the only one, or is to be.

    Raises
    ------
    InputError
        If ``DEEPMD_TF_MPI`` is neither ``on`` nor ``off``.
    """
    if _is_off():
        return None
    for rank, size, launcher in LAUNCHERS:
        found = _number(rank), _number(size)
        if found[0] is not None and found[1] is not None:
            return Launch(found[0], found[1], launcher, size) if found[1] > 1 else None
    tasks = _number("SLURM_NTASKS")
    if tasks is not None and tasks > 1:
        log.warning(
            "this job of Slurm has %d tasks (SLURM_NTASKS), but one process was started, which "
            "trains alone; srun before the command starts one for each task",
            tasks,
        )
    return None


def _is_off() -> bool:
    value = os.environ.get(MPI, "").strip().lower()
    if value not in ("", "on", "off"):
        raise InputError(
            f'environment variable {MPI} is "{value}"; it must be on (or not set: processes that '
            "were started together train together) or off (each trains for itself)"
        )
    return value == "off"


def _number(name: str) -> int | None:
    text = os.environ.get(name, "")
    return int(text) if text.isdigit() else None
