# SPDX-License-Identifier: BSD-3-Clause
"""How a process finds out that it is one of several."""

from __future__ import annotations

import pytest

from deepmd_tf.environment_variables import MPI
from deepmd_tf.errors import InputError
from deepmd_tf.parallel import ALONE, joined
from deepmd_tf.parallel.launch import LAUNCHERS, find_launch, require_alone


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in ("SLURM_NTASKS", MPI, *(name for row in LAUNCHERS for name in row[:2])):
        monkeypatch.delenv(name, raising=False)


def test_alone():
    assert find_launch() is None
    with joined() as ranks:
        assert ranks is ALONE
    require_alone("this")


@pytest.mark.parametrize(("rank", "size", "words"), LAUNCHERS)
def test_each_launcher(monkeypatch, rank, size, words):
    monkeypatch.setenv(rank, "0")
    monkeypatch.setenv(size, "1")
    assert find_launch() is None
    monkeypatch.setenv(size, "3")
    found = find_launch()
    assert (found.rank, found.size, found.launcher) == (0, 3, words)
    with pytest.raises(InputError, match=f"3 \\({size}\\).*same files"):
        require_alone("dp freeze")
    monkeypatch.setenv(MPI, "off")
    assert find_launch() is None


def test_mpirun_within_a_job_of_slurm_counts(monkeypatch):
    for name, value in (("SLURM_PROCID", "1"), ("SLURM_STEP_NUM_TASKS", "2")):
        monkeypatch.setenv(name, value)
    for name, value in (("PMI_RANK", "5"), ("PMI_SIZE", "8")):
        monkeypatch.setenv(name, value)
    assert (find_launch().rank, find_launch().size) == (5, 8)


def test_the_switch_has_two_positions(monkeypatch):
    monkeypatch.setenv(MPI, "maybe")
    with pytest.raises(InputError, match=f'{MPI} is "maybe"'):
        find_launch()


def test_tasks_that_were_not_started_are_told(monkeypatch, caplog):
    monkeypatch.setenv("SLURM_NTASKS", "4")
    with joined() as ranks:
        assert ranks is ALONE
    assert "has 4 tasks" in caplog.text and "srun" in caplog.text
