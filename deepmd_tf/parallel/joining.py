# SPDX-License-Identifier: BSD-3-Clause
"""Joins the processes that a launcher has started, and lets all end when one does."""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import socket
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from deepmd_tf.environment_variables import MPI as SWITCH
from deepmd_tf.errors import DeepmdError, InstallError
from deepmd_tf.log import ROOT
from deepmd_tf.parallel.launch import Launch, find_launch, leave_to_first, warn_of_idle_tasks
from deepmd_tf.parallel.ranks import ALONE, MpiRanks, Ranks, RanksLost
from deepmd_tf.parallel.watch import AGAIN, RESTART, Follower, Hub

log = logging.getLogger(__name__)


@contextmanager
def joined(*, trains: bool = True) -> Iterator[Ranks]:
    """All processes that were started together; they leave together.

    An error of any rank ends all, and is told once: by rank 0, where it is raised; other ranks end
    here. While it is open, only rank 0 writes messages.

    Parameters
    ----------
    trains
        Whether they train: then there are checkpoints, and tasks of a job that were not started
        are told of.

    Raises
    ------
    InputError, InstallError
        If there should be several processes, but they cannot work together.
    RanksLost
        On rank 0, if another one has ended.
    """
    launch = find_launch()
    if launch is None:
        if trains:
            warn_of_idle_tasks()
        yield ALONE
        return
    if launch.rank != 0:
        _be_quiet()
    try:
        ranks, watch = _join(launch, RESTART if trains else AGAIN)
    except DeepmdError:
        if launch.rank != 0:
            leave_to_first()
        raise
    try:
        yield ranks
        ranks.objects(None)  # all have come to the end
    except BaseException as error:
        if isinstance(watch, Hub):
            watch.fail()
            raise
        watch.fail(_told(error, ranks))
        leave_to_first()
    watch.close()
    _finalize_at_exit()


def _join(launch: Launch, remedy: str) -> tuple[MpiRanks, Hub | Follower]:
    """The ranks, connected."""
    mpi = _import_mpi(launch)
    world = mpi.COMM_WORLD
    if world.Get_size() != launch.size:
        raise _strangers(launch, mpi, world.Get_size())
    communicator = world.Dup()
    rank = int(communicator.Get_rank())
    watch = Hub(secrets.token_bytes(16)) if rank == 0 else Follower(rank, speaks=rank == 1)
    watch.remedy = remedy
    first = MpiRanks(communicator, watch, [f"rank {r}" for r in range(world.Get_size())])
    own = f"rank {rank} ({socket.gethostname()}, process {os.getpid()})"
    names = first.objects(own)
    ranks = MpiRanks(communicator, watch, names)
    reached = True
    if isinstance(watch, Hub):
        watch.start(names)
        *places, _ = ranks.shared((*watch.places, watch.token))
    else:
        found: Any = ranks.shared(None)
        *places, token = found
        reached = watch.connect(places[0], places[1], token, names[0])
    connected = ranks.objects(reached)
    if not all(connected):
        if isinstance(watch, Hub):
            watch.absent = connected.count(False)
        log.warning(
            "%s cannot reach %s by TCP, ports %s: that a process dies is left to the launcher to "
            "notice; see that it ends all of them (srun --kill-on-bad-exit), or that machines of "
            "a job may connect to each other",
            ranks.name(connected.index(False)),
            ranks.name(0),
            places[1],
        )
    machines = ranks.objects(machine())
    ranks.on_machine = machines.count(machines[ranks.rank])
    return ranks, watch


def machine() -> str:
    """The running system."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{socket.gethostname()} {file.read().strip()}"
    except OSError:
        return socket.gethostname()


def _import_mpi(launch: Launch) -> Any:
    """``mpi4py.MPI``, initialised."""
    try:
        import mpi4py

        if "mpi4py.MPI" not in sys.modules:
            # one thread calls MPI; and who fails does not wait for others, see below
            mpi4py.rc.thread_level = "serialized"
            mpi4py.rc.initialize = mpi4py.rc.finalize = False
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise InstallError(
            f"{launch.launcher} started {launch.size} processes ({launch.variable}), which cannot "
            f"work together without mpi4py ({reason}). Install it: pip install mpi4py mpich (or "
            "mpi4py alone, where an MPI is installed). Or start one process; or set "
            f"{SWITCH}=off to let each work for itself"
        ) from None
    if not MPI.Is_initialized():
        # that of MPICH would end the process
        if launch.variable.startswith("OMPI") and "Open MPI" not in _library(MPI):
            raise _strangers(launch, MPI, 1)
        MPI.Init_thread(MPI.THREAD_SERIALIZED)
    return MPI


def _library(mpi: Any) -> str:
    return mpi.Get_library_version().partition("\n")[0].partition(",")[0].strip("\0 \n")


def _strangers(launch: Launch, mpi: Any, size: int) -> InstallError:
    slurm = "; with srun, see srun --mpi=list" if launch.launcher == "srun" else ""
    return InstallError(
        f"{launch.launcher} started {launch.size} processes ({launch.variable}), but they do not "
        f"see each other: mpi4py uses {_library(mpi)}, in which there are {size}. Start them with "
        "the mpiexec of that MPI, or install mpi4py for the MPI of your launcher: pip install "
        f"--force-reinstall --no-binary mpi4py mpi4py{slurm}. To let each process work for itself "
        f"set {SWITCH}=off"
    )


def _finalize_at_exit() -> None:
    """Leave MPI when the program ends; only if all ranks have come so far."""
    from mpi4py import MPI

    def finalize() -> None:
        if MPI.Is_initialized() and not MPI.Is_finalized():
            MPI.Finalize()

    atexit.register(finalize)


def _be_quiet() -> None:
    """Let no message out of this process."""
    logger = logging.getLogger(ROOT)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.addHandler(logging.NullHandler())
    logger.propagate = False


def _told(error: BaseException, ranks: Ranks) -> str | None:
    """What rank 0 says of an error here; None if that comes from there."""
    if isinstance(error, RanksLost):
        return None
    if isinstance(error, DeepmdError):
        return f"{ranks.name(ranks.rank)}: {error}"
    if isinstance(error, MemoryError):
        return f"{ranks.name(ranks.rank)}: memory is exhausted"
    if isinstance(error, KeyboardInterrupt):
        return f"{ranks.name(ranks.rank)} was interrupted"
    text = "".join(traceback.format_exception(error))
    return f"{ranks.name(ranks.rank)} has failed:\n{text}"
