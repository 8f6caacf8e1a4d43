# SPDX-License-Identifier: BSD-3-Clause
"""Whether this process was started as one of several, by what a launcher leaves it to know."""

from __future__ import annotations

import logging
import os
import sys
import time
from dataclasses import dataclass
from typing import NoReturn

from deepmd_tf.environment_variables import MPI
from deepmd_tf.errors import InputError

log = logging.getLogger(__name__)

EXIT_ERROR = 1
_LATER = 3.0
"""Seconds that a rank waits with its end, since launchers then end the first one too."""

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
    return None


def warn_of_idle_tasks() -> None:
    """Say that a job has been given more tasks than the one that trains."""
    tasks = _number("SLURM_NTASKS")
    if tasks is not None and tasks > 1 and not _is_off():
        log.warning(
            "this job of Slurm has %d tasks (SLURM_NTASKS), but one process was started, which "
            "trains alone; srun before the command starts one for each task",
            tasks,
        )


def require_alone(what: str) -> None:
    """Refuse to do ``what`` as one of several processes, each of which would do all of it.

    Raises
    ------
    InputError
        If this is one of them.
    """
    launch = find_launch()
    if launch is not None:
        if launch.rank != 0:
            leave_to_first()
        raise InputError(
            f"{what} is done by one process, but {launch.launcher} started {launch.size} "
            f"({launch.variable}), which would do the same work and write the same files; start "
            f"one, or set {MPI}=off if each has work of its own"
        )


def leave_to_first() -> NoReturn:
    """End this process with an error, of which rank 0 tells; not before it has done so."""
    time.sleep(_LATER)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(EXIT_ERROR)


def _is_off() -> bool:
    value = os.environ.get(MPI, "").strip().lower()
    if value not in ("", "on", "off"):
        raise InputError(
            f'environment variable {MPI} is "{value}"; it must be on (or not set: processes that '
            "were started together work together) or off (each works for itself)"
        )
    return value == "off"


def _number(name: str) -> int | None:
    text = os.environ.get(name, "")
    return int(text) if text.isdigit() else None
