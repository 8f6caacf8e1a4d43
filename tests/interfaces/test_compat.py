# SPDX-License-Identifier: BSD-3-Clause
"""Programs that import ``deepmd``, and dpdata, with the models of this package."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from saved_models import water_like

import deepmd_tf
from deepmd_tf import infer
from deepmd_tf.errors import InputError
from deepmd_tf.infer import DeepPot
from deepmd_tf.interfaces.ase import DP
from deepmd_tf.interfaces.dpdata_driver import DeepmdTFDriver

dpdata = pytest.importorskip("dpdata")
COMPAT = Path(__file__).resolve().parents[2] / "compat"


@pytest.fixture
def compat(monkeypatch):
    """The package as if it were installed."""
    monkeypatch.syspath_prepend(str(COMPAT))
    before = set(sys.modules)
    yield importlib.import_module("deepmd")
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "deepmd":
            del sys.modules[name]


@pytest.fixture(params=[True, False], ids=["periodic", "free"])
def frames(request, rng):
    """A system of dpdata, whose elements are in another order than in the model."""
    coords, cells, types = water_like(rng, n_atoms=9, n_frames=2, length=5.0)
    return dpdata.System(
        data={
            "atom_names": ["H", "O"],
            "atom_numbs": [int(np.sum(types == 1)), int(np.sum(types == 0))],
            "atom_types": 1 - types,
            "coords": coords,
            "cells": cells.reshape(-1, 3, 3),
            "orig": np.zeros(3),
            **({} if request.param else {"nopbc": True}),
        }
    )


def test_names(compat):
    import deepmd.infer as theirs_all
    from deepmd import DeepPotential
    from deepmd.calculator import DP as their_calculator
    from deepmd.infer import DeepPot as theirs
    from deepmd.infer.deep_pot import DeepPot as again
    from deepmd.infer.model_devi import calc_model_devi

    assert theirs is again is DeepPot and their_calculator is DP
    assert DeepPotential is infer.DeepPotential and set(dir(theirs_all)) >= set(infer.__all__)
    assert callable(calc_model_devi)
    assert compat.__version__ == f"3.2.0+deepmd.tf.{deepmd_tf.__version__}"
    with pytest.raises(ImportError):
        importlib.import_module("deepmd.DeepPot")


@pytest.mark.parametrize("driver", ["dp", "deepmd_tf"])
def test_dpdata(compat, frames, saved, driver):
    """Its own driver through ``import deepmd``, and ours."""
    found = frames.predict(str(saved), driver=driver)
    cells = None if frames.nopbc else frames["cells"]
    with DeepPot(saved) as pot:
        expected = pot.eval(frames["coords"], cells, 1 - frames["atom_types"])
    np.testing.assert_allclose(found["energies"], expected[0][:, 0], rtol=1e-13)
    np.testing.assert_allclose(found["forces"], expected[1], rtol=0, atol=1e-12)
    if cells is not None:
        np.testing.assert_allclose(found["virials"].reshape(2, 9), expected[2], rtol=0, atol=1e-12)


def test_element_that_the_model_does_not_know(frames, saved):
    with DeepPot(saved) as pot, pytest.raises(InputError, match="does not know N"):
        DeepmdTFDriver(pot).label({**frames.data, "atom_names": ["N", "O"]})


def test_deepmd_kit_goes_first(tmp_path):
    """In one folder, as in ``site-packages``."""
    (tmp_path / "deepmd.py").write_bytes((COMPAT / "deepmd.py").read_bytes())
    (tmp_path / "deepmd").mkdir()
    (tmp_path / "deepmd/__init__.py").write_text("kit = True")
    program = f"import sys; sys.path[:0] = [{str(tmp_path)!r}]; import deepmd; assert deepmd.kit"
    subprocess.run([sys.executable, "-I", "-c", program], check=True)


@pytest.mark.slow
def test_installation(tmp_path):
    """No file of DeePMD-kit is among those that are installed."""
    source = shutil.copytree(COMPAT, tmp_path / "compat")
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--quiet", "--target"]
    pip = [sys.executable, "-m", "pip", "install", *options, str(tmp_path / "site"), str(source)]
    subprocess.run(pip, check=True, cwd=tmp_path)
    found = {path.name for path in (tmp_path / "site").iterdir()}
    assert {"deepmd.py", "deepmd_tf_compat"} <= found and "deepmd" not in found
