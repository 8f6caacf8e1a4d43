# SPDX-License-Identifier: BSD-3-Clause
"""What cannot be written is told before data are read, all at once; nothing is left behind."""

from __future__ import annotations

import collections
import logging
import os
from pathlib import Path

import pytest
from small_training import INPUT, write_script

from deepmd_tf.config import Config, load_input
from deepmd_tf.errors import InputError
from deepmd_tf.training import outputs
from deepmd_tf.training.entrypoint import train
from deepmd_tf.training.graph import TrainingGraph
from deepmd_tf.training.outputs import (
    checkpoint_size,
    kept_checkpoints,
    planned_outputs,
    require_outputs,
    weight_count,
)

MODEL = INPUT["model"]
Usage = collections.namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """The working directory; there are no data in it, so that reading them would be told."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(folder: Path, *, output: str = "out.json", **sections) -> str:
    """What :func:`train` says, which leaves everything as it was."""
    path = write_script(folder, **sections)
    before = sorted(folder.rglob("*"))
    with pytest.raises(InputError) as error:
        train(path.name, output=output)
    assert sorted(folder.rglob("*")) == before
    return str(error.value)


@pytest.mark.parametrize(
    ("training", "words"),
    [
        ({"disp_file": "a_file/lcurve.out"}, "disp_file: a_file/lcurve.out cannot be written (is"),
        ({"disp_file": "a_folder"}, "disp_file: a_folder is a directory; give the name of a file"),
        ({"disp_file": "/proc/none/lcurve.out"}, "disp_file: /proc/none/lcurve.out cannot be writ"),
        ({"disp_file": "x" * 300}, "cannot be written (File name too long: "),
        ({"disp_file": "input.json"}, "disp_file: the learning curve would replace the input"),
        ({"disp_file": "out.json"}, "disp_file: out.json is the input script with all defaults"),
        ({"disp_file": "checkpoint"}, "checkpoint is the learning curve too (training.disp_file)"),
        ({"save_ckpt": "a_file/model.ckpt"}, "save_ckpt: a_file/model.ckpt cannot be written"),
        ({"save_ckpt": "."}, "save_ckpt: . is a folder; give a name for the checkpoints"),
        ({"save_ckpt": "a_folder/.."}, "save_ckpt: a_folder/.. is a folder; give a name"),
        (
            {"tensorboard": True, "tensorboard_log_dir": "a_file"},
            "tensorboard_log_dir: a_file is a file; give the name of a folder",
        ),
        (
            {"enable_profiler": True, "tensorboard_log_dir": "a_file/log"},
            "tensorboard_log_dir: a_file/log cannot be written (is a file, not a directory: a_file",
        ),
        (
            {"profiling": True, "profiling_file": "none/timeline.json"},
            "profiling_file: none/timeline.json cannot be written (there is no directory none)",
        ),
        ({"stat_file": "a_file/stat.h5"}, "stat_file: a_file/stat.h5 cannot be written"),
    ],
)
def test_what_cannot_be_written(folder, training, words):
    (folder / "a_file").write_text("")
    (folder / "a_folder").mkdir()
    assert words in told(folder, training=training)


def test_all_mistakes_are_told_together(folder):
    (folder / "a_file").write_text("")
    message = told(
        folder,
        output="none/out.json",
        training={"disp_file": "a_file/lcurve.out", "save_ckpt": "best.ckpt"},
        validating={"full_validation": True, "full_val_file": "a_file/val.log"},
    )
    first, *lines = message.splitlines()
    assert first == "input.json: 4 mistakes"
    assert [line.split(" cannot")[0].split(" is")[0] for line in lines] == [
        "  --output: none/out.json",
        "  training.disp_file: a_file/lcurve.out",
        "  validating.full_val_file: a_file/val.log",
        "  validating.save_best_dir: best.ckpt",
    ]


def test_folders_that_will_be_made_are_fine(folder):
    training = {"disp_file": "new/a/lcurve.out", "save_ckpt": "new/b/model.ckpt"}
    config = load_input(write_script(folder, training=INPUT["training"] | training))
    planned = planned_outputs(config, "out.json")
    require_outputs(config, planned, "input.json", continues=False)
    assert os.listdir(folder) == ["input.json"]


def test_files_that_will_be_replaced_are_told(folder, caplog):
    config = load_input(write_script(folder))
    planned = planned_outputs(config, "out.json")
    for name in ("lcurve.out", "model.ckpt-5.index", "model.ckpt-10.index", "out.json"):
        (folder / name).touch()
    require_outputs(config, planned, "input.json", continues=True)
    assert not caplog.text
    require_outputs(config, planned, "input.json", continues=False)
    (message,) = caplog.messages
    assert "same name: lcurve.out, model.ckpt-10, model.ckpt-5 (to go on" in message


def test_a_disk_that_is_too_small(folder, caplog, monkeypatch):
    config = load_input(write_script(folder))
    size = checkpoint_size(config.model)
    # 20 steps, saved every 5: 4 checkpoints, and no more are kept
    assert kept_checkpoints(config) == 4
    planned = planned_outputs(config, "out.json")
    for free, wrong in ((4 * size, None), (4 * size - 1, "warning"), (size - 1, "error")):
        monkeypatch.setattr(outputs.shutil, "disk_usage", lambda path, free=free: Usage(0, 0, free))
        caplog.clear()
        if wrong == "error":
            with pytest.raises(InputError, match=r"save_ckpt:.*1.*MB"):
                require_outputs(config, planned, "input.json", continues=False)
        else:
            with caplog.at_level(logging.WARNING):
                require_outputs(config, planned, "input.json", continues=False)
            assert ("4 checkpoints of about" in caplog.text) == (wrong == "warning")


@pytest.mark.parametrize(
    ("training", "validating", "count"),
    [
        ({"numb_steps": 1000, "save_freq": 10, "max_ckpt_keep": 3}, {}, 4),
        ({"numb_steps": 25, "save_freq": 10, "max_ckpt_keep": 0}, {}, 3),
        ({"numb_steps": 25, "save_freq": 0, "max_ckpt_keep": 3}, {}, 1),
        ({"numb_steps": None, "numb_epoch": 2, "save_freq": 10, "max_ckpt_keep": 0}, {}, None),
        ({"numb_steps": 25}, {"full_validation": True, "max_best_ckpt": 2}, 7),
    ],
)
def test_number_of_checkpoints(training, validating, count):
    script = INPUT | {"training": INPUT["training"] | training, "validating": validating}
    assert kept_checkpoints(Config.from_dict(script)) == count


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"descriptor": {"type_one_side": True, "resnet_dt": True, "neuron": [20, 40, 40]}},
        {"fitting_net": {"numb_fparam": 2, "numb_aparam": 3, "neuron": [50, 50, 50]}},
    ],
)
def test_estimated_weights(options):
    """Against the graph: never fewer, and at most a tenth more."""
    from deepmd_tf.losses import EnergyLoss
    from deepmd_tf.model.energy import EnergyModel

    model = {k: MODEL[k] | options.get(k, {}) for k in ("descriptor", "fitting_net")}
    config = Config.from_dict(INPUT | {"model": MODEL | model})
    graph = TrainingGraph(config, EnergyModel(config.model), EnergyLoss(config.loss))
    graph.build(None)
    trained, _ = graph.state.parameter_count()
    assert trained <= weight_count(config.model) <= 1.1 * trained
