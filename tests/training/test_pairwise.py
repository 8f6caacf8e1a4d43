# SPDX-License-Identifier: BSD-3-Clause
"""Trainings of models of a quantum region and fragments: restarts, files, messages."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import fragmented
import numpy as np
import pytest
from small_training import write_script

from deepmd_tf.cli.main import main
from deepmd_tf.config import Config
from deepmd_tf.errors import DeepmdError, InputError
from deepmd_tf.export.freeze import freeze
from deepmd_tf.graph.frozen import read_model
from deepmd_tf.infer import DeepPot
from deepmd_tf.training.entrypoint import train

from .checkpoints import assert_same_bits, variables

pytestmark = pytest.mark.slow

SCRIPT = fragmented.script(
    learning_rate={"decay_steps": 2},
    training={"numb_steps": 4, "disp_freq": 1, "save_freq": 2},
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pairwise")
    fragmented.data(folder)
    before = os.getcwd()
    os.chdir(folder)
    try:
        assert train(write_script(folder, SCRIPT)) == 0
        freeze(".", "stock.pb")
        freeze(".", "native.pb", dialect="native")
    finally:
        os.chdir(before)
    return folder


def test_restart_to_the_bit(finished, copied):
    for path in copied.glob("model.ckpt-4.*"):
        path.unlink()
    assert train("input.json", restart="model.ckpt-2") == 0
    assert (copied / "lcurve.out").read_bytes() == (finished / "lcurve.out").read_bytes()
    assert_same_bits(variables("model.ckpt"), variables(finished / "model.ckpt-4"))


@pytest.mark.parametrize("start", [{"init_model": "model.ckpt"}, {"init_frz_model": "stock.pb"}])
def test_begins_with_the_weights(finished, copied, start):
    """Before the first step, to the bit."""
    script = json.loads(json.dumps(SCRIPT))
    script["training"] |= {"numb_steps": 0, "save_ckpt": "next.ckpt"}
    write_script(copied, script)
    expected = read_model(finished / "model.ckpt-4").weights
    assert train("input.json", **start) == 0
    found = read_model("next.ckpt-0").weights
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_files_agree(finished):
    """Frozen files of both dialects and the checkpoint, and what is known of them."""
    case = fragmented.frames(9, 3)
    given = case["coord"], None, fragmented.TYPES, True, None, case["aparam"]
    with DeepPot(finished / "model.ckpt-4") as pot:
        expected = pot.eval(*given)
        assert (pot.get_dim_aparam(), pot.get_dim_fparam(), pot.get_rcut()) == (1, 0, 6.0)
        assert pot.eval_typeebd().shape == (5, 3)
        with pytest.raises(InputError, match="another descriptor in each fragment"):
            pot.eval_descriptor(*given[:3], aparam=case["aparam"])
        with pytest.raises(InputError, match="aparam is missing"):
            pot.eval(*given[:3])
        for value, complaint in (
            (0.5, "a whole number"),
            (-2, "0 or more, or -1"),
            (-1, "no atom"),
        ):
            wrong = case["aparam"].copy()
            wrong[1, 4 if value > -1 else slice(None)] = value
            with pytest.raises(InputError, match=f"frame 1 has .*{complaint}"):
                pot.eval(*given[:5], wrong)
        # in a sub-frame, told with the numbers of the frame
        together = case["coord"].copy()
        together[2, 7] = together[2, 1]
        with pytest.raises(InputError, match="frame 2 has atoms 1 and 7"):
            pot.eval(together, *given[1:])
    for file in ("stock.pb", "native.pb"):
        with DeepPot(finished / file) as pot:
            for value, want in zip(pot.eval(*given), expected, strict=True):
                np.testing.assert_allclose(value, want, rtol=0, atol=1e-12)


def test_compressed_file(copied, capsys):
    """Several frames, each by itself; faults of sub-frames are those of their frame."""
    assert main(["compress", "-i", "stock.pb", "-o", "small.pb"]) == 0
    case = fragmented.frames(9, 3)
    coord, group = case["coord"], case["aparam"]
    with DeepPot("small.pb") as small, DeepPot("stock.pb") as pot:
        results = (
            one.eval(coord, None, fragmented.TYPES, True, aparam=group) for one in (small, pot)
        )
        for value, want in zip(*results, strict=True):
            np.testing.assert_allclose(value, want, rtol=0, atol=1e-6)
        for value, complaint in ((0.5, "a whole number"), (-1, "no atom in a group")):
            wrong = group.copy()
            wrong[1, 4 if value > -1 else slice(None)] = value
            with pytest.raises(InputError, match=f"frame 1 has .*{complaint}"):
                small.eval(coord, None, fragmented.TYPES, aparam=wrong)
        coord[2, 7] = coord[2, 1]
        with pytest.raises(InputError, match=r"frame 2 has, in the quantum region .*same place"):
            small.eval(coord, None, fragmented.TYPES, aparam=group)


def test_compressed_without_data(copied, capsys):
    """The random frames have fragments."""
    shutil.rmtree("data")
    assert main(["compress", "-i", "stock.pb", "-o", "small.pb"]) == 0
    said = capsys.readouterr().err
    assert "4 frames at random" in said and "differences are large" not in said


def test_commands(copied, capsys):
    """Test of all frames, show, and what there is not."""

    def said() -> str:
        found = capsys.readouterr()
        return found.out + found.err

    assert main(["test", "-m", "stock.pb", "-s", "data", "-n", "10", "-d", "detail"]) == 0
    assert "number of systems : 2" in said()
    attributes = ["type-map", "descriptor", "fitting-net", "size", "observed-type"]
    assert main(["show", "model.ckpt-4", *attributes]) == 0
    shown = said()
    assert "The descriptor parameter of qmmm_model is {" in shown
    assert "The fitting_net parameter of qm_model is {" in shown
    assert "Parameters in type-embedding: 12" in shown
    for command, complaint in (
        (["eval-desc", "-m", "stock.pb", "-s", "data/valid"], "another descriptor in each"),
        (["change-bias", "stock.pb", "-s", "data/train"], "each with an energy bias of its own"),
        (["train", "input.json", "--finetune", "stock.pb"], "--finetune: adjusts the energy bias"),
        (["freeze", "--hessian", "-o", "h.pb"], "no second derivatives of its own"),
    ):
        assert main(command) != 0
        assert complaint in said()


def test_data_without_whole_numbers(copied):
    path = copied / "data/train/set.000/aparam.npy"
    group = np.load(path)
    group[2, 4] = 1.5
    group[1] = -1
    np.save(path, group)
    with pytest.raises(DeepmdError) as error:
        train("input.json")
    said = str(error.value)
    assert "frame 2, atom 4 (counted from 0) is 1.5, it is the number of a fragment" in said
    assert "frame 1 (counted from 0) has no atom in a fragment" in said
    path.unlink()
    with pytest.raises(DeepmdError, match=r"aparam.npy"):
        train("input.json")


def test_other_model_is_refused(copied):
    """A checkpoint of other models."""
    script = json.loads(json.dumps(SCRIPT))
    script["model"]["qmmm_model"]["descriptor"]["rcut"] = 5.0
    write_script(copied, script)
    with pytest.raises(DeepmdError, match=r"qmmm_model.*rcut"):
        train("input.json", init_model="model.ckpt")


def test_stored_script(finished):
    """Members have no keys that belong to both: DeePMD-kit refuses them there."""
    saved = read_model(finished / "stock.pb")
    section = saved.script["model"]
    assert section["type"] == "pairwise_dprc" and section["type_embedding"]["seed"] == 5
    assert not {"type_map", "type_embedding"} & section["qm_model"].keys()
    assert Config.from_dict(fragmented.script()).model == saved.model


def test_trains_on_hessian_products(copied):
    """By products with vectors, of frames of the same atoms."""
    rng = np.random.default_rng(1)
    for part, n in (("train", 4), ("valid", 2)):
        matrices = rng.normal(size=(n, 45, 45))
        np.save(copied / f"data/{part}/set.000/hessian.npy", (matrices + matrices.swapaxes(1, 2)))
    script = json.loads(json.dumps(SCRIPT))
    script["loss"] |= {"start_pref_h": 1.0, "limit_pref_h": 1.0, "hessian_mode": "probe:2"}
    script["training"] |= {"numb_steps": 1, "save_freq": 1}
    write_script(copied, script)
    assert train("input.json") == 0
    script["loss"]["hessian_mode"] = "full"
    write_script(copied, script)
    with pytest.raises(InputError, match="no second derivatives of its own"):
        train("input.json")
