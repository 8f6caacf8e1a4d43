# SPDX-License-Identifier: BSD-3-Clause
"""Folders of trainings, one finished and one to be begun."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from small_training import write_all_data, write_script

from deepmd_tf.training.entrypoint import train


@pytest.fixture(scope="session")
def default_training(tmp_path_factory) -> Path:
    """Folder of a finished training of the small model; not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    write_all_data(folder)
    before = os.getcwd()
    os.chdir(folder)
    try:
        assert train(write_script(folder)) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def finished(default_training) -> Path:
    """That folder; some modules have another."""
    return default_training


@pytest.fixture
def copied(finished, tmp_path, monkeypatch) -> Path:
    """A copy of that folder, which is the working directory."""
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def fresh(tmp_path, monkeypatch) -> Path:
    """A folder with data only, which is the working directory."""
    write_all_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path
