# SPDX-License-Identifier: BSD-3-Clause
"""dp train from the input script to the files: what it writes, that it repeats."""

from __future__ import annotations

import copy
import json
import logging
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from small_training import INPUT, steps_in, write_script

from deepmd_tf import names
from deepmd_tf.cli.main import main
from deepmd_tf.config import load_input
from deepmd_tf.data import DataSystem
from deepmd_tf.errors import InputError, TrainingError
from deepmd_tf.fields import ENERGY
from deepmd_tf.graph.checkpoint import read_state
from deepmd_tf.graph.checkpoint_files import listed_steps
from deepmd_tf.graph.frozen import read_checkpoint
from deepmd_tf.infer import DeepPot
from deepmd_tf.losses import EnergyLoss
from deepmd_tf.training import trainer as trainer_module
from deepmd_tf.training.entrypoint import train
from deepmd_tf.training.evaluation import Evaluation
from deepmd_tf.training.gradient_step import FusedStep
from deepmd_tf.training.interrupt import Deadline
from deepmd_tf.training.open_data import open_data
from deepmd_tf.training.state import TrainingState

from .checkpoints import assert_same_bits, variables

LAST = INPUT["training"]["numb_steps"]


def test_rows_and_checkpoints_have_frequencies_of_their_own(finished):
    assert steps_in(finished / "lcurve.out") == [0, 4, 8, 12, 16, 20]
    assert listed_steps(finished / "model.ckpt") == [5, 10, 15, 20]


def test_learning_curve_format(finished):
    lines = (finished / "lcurve.out").read_text().splitlines()
    assert lines[0] == (
        "# step       rmse_val    rmse_trn    rmse_e_val  rmse_e_trn    rmse_f_val  rmse_f_trn"
        "    rmse_v_val  rmse_v_trn   lr      "
    )
    row = re.compile(r" {6}\d| {5}\d\d" + r"(   +\S+ +\S+){4}   +\d\.\de-\d\d")
    assert all(row.match(line) and len(line) == len(lines[0]) for line in lines[2:])


def test_training_reduces_the_errors(finished):
    table = np.genfromtxt(finished / "lcurve.out")
    assert table[-1, 1] < 0.3 * table[0, 1]
    assert table[-1, 5] < table[0, 5]


def test_checkpoint_variables_have_the_stock_names(finished):
    values = variables(finished / "model.ckpt-20")
    assert values["global_step"] == LAST
    assert values["global_step"].dtype == np.int64
    for name in ("filter_type_0/matrix_1_1", "layer_0_type_1/bias", "final_layer_type_0/matrix"):
        assert values[f"{name}/Adam"].shape == values[f"{name}/Adam_1"].shape == values[name].shape
    np.testing.assert_allclose(values["beta1_power"], 0.9 ** (LAST + 1), rtol=1e-5)
    assert values["descrpt_attr/t_avg"].shape == (2, 4 * (12 + 20))
    assert values["fitting_attr/t_bias_atom_e"].shape == (2,)


def test_checkpoint_can_be_read_as_a_model(finished):
    saved = read_checkpoint(finished)
    assert saved.type_map == ("O", "H")
    written = json.loads((finished / "out.json").read_text())
    assert written.pop("validating")  # which says nothing about the model
    assert saved.script == written
    assert 0.8 < saved.min_nbor_dist < 2.0


def test_normalised_input(finished):
    assert (
        load_input(finished / "out.json").to_dict() == load_input(finished / "input.json").to_dict()
    )
    assert json.loads((finished / "input_v2_compat.json").read_text()) == json.loads(
        (finished / "input.json").read_text()
    )


def test_nothing_else_is_written(finished):
    expected = {
        "data",
        "input.json",
        "out.json",
        "input_v2_compat.json",
        "lcurve.out",
        "checkpoint",
    }
    names = {p.name for p in finished.iterdir() if not p.name.startswith("model.ckpt")}
    assert names == expected


def test_same_input_same_bits(finished, copied):
    assert train("input.json") == 0
    assert (copied / "lcurve.out").read_bytes() == (finished / "lcurve.out").read_bytes()
    assert_same_bits(variables("model.ckpt-20"), variables(finished / "model.ckpt-20"))
    assert read_state("model.ckpt-20")["next_batch"]["set_name"].startswith("set.")


@pytest.mark.parametrize(
    "loss",
    [
        pytest.param({}, id="mse", marks=pytest.mark.slow),
        pytest.param(
            {"loss_func": "mae", "f_use_norm": True, "start_pref_de": 1},
            id="mae",
            marks=pytest.mark.slow,
        ),
        pytest.param({"use_huber": True, "relative_f": 1.0, "start_pref_de": 1}, id="huber"),
    ],
)
def test_every_sum_is_of_two(loss, fresh, monkeypatch):
    """Guard of repeatability: the order in which three tensors are added depends on timing, and so
    does the last bit."""
    sums = []

    def traced(step, runner, feed, *, measure):
        options, record = tf.RunOptions(output_partition_graphs=True), tf.RunMetadata()
        values = dict(zip(*step.feed(feed), strict=True))
        _, diagnostics = runner.session.run(
            step.fetches, values, options=options, run_metadata=record
        )
        nodes = [node for part in record.partition_graphs for node in part.node]
        sums.extend(node.attr["N"].i for node in nodes if node.op == "AddN")
        return diagnostics, None

    monkeypatch.setattr(FusedStep, "run", traced)
    others = {"start_pref_pf": 1, "use_default_pf": True} if loss else {}
    data = {"systems": "data/train", "batch_size": 2}
    write_script(fresh, training={"numb_steps": 1, "training_data": data}, loss=loss | others)
    assert train("input.json", skip_neighbor_stat=True) == 0
    assert set(sums) == {2}


def test_bias_changed_after_the_last_step(finished, fresh, caplog):
    """As without it, but for the bias, with which the energies are right on average."""
    caplog.set_level(logging.INFO, "deepmd_tf")
    script = write_script(
        fresh, model={"data_bias_nsample": 8}, training={"change_bias_after_training": True}
    )
    assert train(script) == 0
    plain, changed = (variables(folder / f"model.ckpt-{LAST}") for folder in (finished, fresh))
    bias = "fitting_attr/t_bias_atom_e"
    shift = changed.pop(bias) - plain.pop(bias)
    assert_same_bits(plain, changed)
    errors = []
    with DeepPot(fresh / "model.ckpt") as pot:
        for name in ("cell", "free"):
            data = DataSystem(fresh / "data" / "train" / name, fields=[ENERGY], sort_atoms=False)
            for batch in data.batches():
                arrays = batch.arrays
                box = arrays["box"] if data.pbc else None
                energy = pot.eval(arrays["coord"], box, data.types)[0]
                errors.append(arrays["energy"] - energy[:, 0])
    assert abs(np.mean(errors)) < 1e-10
    # two O and four H in every frame
    assert shift[1] == pytest.approx(2 * shift[0]) and abs(shift[0]) > 1e-6
    assert caplog.text.count("Change energy bias of ['O', 'H']") == 1


def test_table_follows_the_weights_without_checkpoints(fresh, monkeypatch):
    steps = []
    refresh = TrainingState.refresh_table

    def counted(state):
        steps.append(state.get_step())
        return refresh(state)

    monkeypatch.setattr(TrainingState, "refresh_table", counted)
    monkeypatch.setattr(trainer_module, "REFRESH_STEPS", 3)
    write_script(fresh, training={"numb_steps": 8, "save_freq": 0, "disp_freq": 100})
    assert train("input.json", skip_neighbor_stat=True) == 0
    assert steps == [0, 3, 6, 8]


def test_names_of_types_are_those_of_the_training_data(fresh):
    """Validation data that number them otherwise are translated, and the model knows them."""
    for path in fresh.glob("data/valid/*/type_map.raw"):
        path.write_text("H\nO\n")
    types = fresh / "data" / "valid" / "cell" / "type.raw"
    types.write_text("\n".join(str(1 - int(t)) for t in types.read_text().split()))
    write_script(fresh, model={"type_map": None}, training={"numb_steps": 1})
    config = load_input("input.json")
    data, validation, _ = open_data(config, EnergyLoss(config.loss))
    assert validation.type_map == data.type_map == ["O", "H"]
    assert validation.systems[0].types.tolist() == [0, 0, 1, 1, 1, 1]
    assert train("input.json") == 0
    assert read_checkpoint(fresh).type_map == ("O", "H")


def test_last_step_is_saved_whatever_the_frequency(fresh):
    write_script(
        fresh, training={"numb_steps": 7, "disp_freq": 100, "save_freq": 5, "max_ckpt_keep": 1}
    )
    assert train("input.json", skip_neighbor_stat=True) == 0
    assert listed_steps(fresh / "model.ckpt") == [7]
    assert steps_in(fresh / "lcurve.out") == [0]
    assert read_checkpoint(fresh).min_nbor_dist is None


def test_no_display(fresh):
    write_script(fresh, training={"numb_steps": 5, "disp_training": False})
    assert train("input.json") == 0
    assert steps_in(fresh / "lcurve.out") == []
    assert listed_steps(fresh / "model.ckpt") == [5]


def test_epochs(fresh, caplog):
    script = copy.deepcopy(INPUT)
    del script["training"]["numb_steps"]
    # 2 systems: 4 batches of 2 frames and 8 of 1, drawn in proportion: 12 steps pass all of them
    script["training"] |= {"numb_epoch": 0.5, "disp_freq": 3}
    write_script(fresh, script)
    caplog.set_level(logging.INFO)
    assert train("input.json") == 0
    assert "0.5 epochs are 6 steps" in caplog.text
    assert steps_in(fresh / "lcurve.out") == [0, 3, 6]
    assert json.loads((fresh / "out.json").read_text())["training"]["numb_steps"] == 6


def test_messages(fresh, caplog):
    write_script(fresh, training={"numb_steps": 8})
    caplog.set_level(logging.INFO)
    assert train("input.json") == 0
    expected = [
        r"Calculate neighbor statistics\.\.\. \(add --skip-neighbor-stat to skip this step\)",
        r"Neighbor statistics: training data with minimal neighbor distance: \d\.\d{6}",
        r"Neighbor statistics: training data with maximum neighbor size: \[ *\d+ +\d+\] "
        r"\(cutoff radius: 3\.400000\)",
        r"---Summary of DataSystem: Training +-+",
        r"Found 2 System\(s\):",
        r"---Summary of DataSystem: Validation +-+",
        r"training without frame parameter",
        r"data stating\.\.\. \(this step may take long time\)",
        r"RMSE of energy per atom after linear regression is: \d\S* in the unit of energy\.",
        r"built lr",
        r"built network",
        r"built training.*",
        r"initialize model from scratch",
        r"Batch       0: trn: rmse = .*, lr = 5\.00e-03",
        r"Batch       0: val: rmse = .*",
        r"start training at lr 5\.00e-03 \(== 5\.00e-03\), final lr will be 1\.00e-04",
        r"Batch       4: trn: rmse = .*",
        r"Batch       4: total wall time = \d+\.\d\d s, eta = 0:00:\d\d at 2\d{3}-\S+ \S+",
        r"saved checkpoint model\.ckpt",
        r"Batch       8: trn: rmse = .*",
        r"saved checkpoint model\.ckpt",
        r"average training time: \d\.\d{4} s/batch \(exclude first 4 batches\)",
        r"finished training",
        r"wall time: \d+\.\d{3} s",
    ]
    found = iter(caplog.messages)
    for pattern in expected:
        assert any(re.fullmatch(pattern, message) for message in found), pattern
    assert "scale_by_worker" not in caplog.text


def test_dropped_neighbors_are_reported(fresh, caplog):
    """Before training, at the first frame that has them, and at the end."""
    descriptor = INPUT["model"]["descriptor"] | {"sel": [12, 2]}
    write_script(fresh, model={"descriptor": descriptor}, training={"numb_steps": 3})
    assert train("input.json") == 0
    before, after = caplog.text.split("neighbours of type H are beyond sel", 1)
    assert "sel of type 1 is not enough!" in before and "is not enough" not in after
    pattern = r"neighbours of type H are beyond sel and were left out; sel\[1\] is 2, at least [34]"
    assert re.search(pattern, caplog.text)
    assert "sel[0]" not in caplog.text
    assert re.search(r"in 3 steps \d+ neighbours were beyond sel .* sel is \[12, 2\]", caplog.text)


def test_neighbors_dropped_in_validation_are_reported(fresh, caplog):
    """Also where training frames have no more than sel; all frames, and some of them."""
    for path in sorted(Path("data/train").glob("*/set.*/coord.npy")):
        np.save(path, 100.0 * np.load(path))
    shutil.rmtree("data/train/cell")
    systems = {"systems": "data/train", "batch_size": 2}
    descriptor = INPUT["model"]["descriptor"] | {"sel": [12, 2]}
    loss = {"start_pref_v": 0.0, "limit_pref_v": 0.0}
    for validating in ({}, {"full_validation": True, "validation_freq": 1}):
        write_script(
            fresh,
            model={"descriptor": descriptor},
            loss=loss,
            validating=validating,
            training={
                "training_data": systems,
                "numb_steps": 1,
                "disp_training": not validating,
            },
        )
        caplog.clear()
        assert train("input.json", skip_neighbor_stat=True) == 0
        step = 1 if validating else 0
        assert f"step {step}, validation: " in caplog.text
        assert "sel[1] is 2, at least" in caplog.text and "in 1 steps" not in caplog.text


def test_automatic_sel(fresh):
    descriptor = INPUT["model"]["descriptor"] | {"sel": "auto"}
    write_script(fresh, model={"descriptor": descriptor}, training={"numb_steps": 1})
    with pytest.raises(InputError, match="needs the neighbour statistics"):
        train("input.json", skip_neighbor_stat=True)
    assert train("input.json") == 0
    sel = json.loads((fresh / "out.json").read_text())["model"]["descriptor"]["sel"]
    assert all(n > 0 and n % 4 == 0 for n in sel)
    # the numbers of the checkpoint are taken over
    write_script(fresh, model={"descriptor": descriptor}, training={"numb_steps": 2})
    assert train("input.json", restart="model.ckpt") == 0


@pytest.mark.parametrize("disp_freq", [3, pytest.param(100, marks=pytest.mark.slow)])
def test_loss_that_is_no_number_stops_and_is_not_saved(disp_freq, fresh, monkeypatch):
    """Whether it is found when errors are displayed, or before a checkpoint is written."""
    evaluate, run, steps = Evaluation.evaluate, FusedStep.run, []

    def poisoned(evaluation, batch, lr):
        errors = evaluate(evaluation, batch, lr)
        return errors if len(steps) < 3 else {**errors, "rmse": float("nan")}

    def counted(step, *arguments, **options):
        steps.append(step)
        return run(step, *arguments, **options)

    monkeypatch.setattr(Evaluation, "evaluate", poisoned)
    monkeypatch.setattr(FusedStep, "run", counted)
    write_script(fresh, training={"disp_freq": disp_freq, "save_freq": 1})
    with pytest.raises(TrainingError, match="step 3:"):
        train("input.json")
    assert listed_steps(fresh / "model.ckpt") == [1, 2]


@pytest.mark.parametrize("step", [9, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 15))])
def test_time_limit(step, finished, fresh, monkeypatch, caplog):
    """A checkpoint is written and its own status returned; the rest is as if nothing had been."""
    done = []
    with monkeypatch.context() as patch:
        patch.setattr(Deadline, "step_took", lambda *_: done.append(1))
        patch.setattr(Deadline, "reached", property(lambda _: len(done) >= step))
        write_script(fresh)
        assert train("input.json", max_time=1e6) == 75
    assert f"stopped by the time limit after step {step}; go on with --restart" in caplog.text
    assert listed_steps(fresh / "model.ckpt")[-1] == step
    assert train("input.json", restart="model.ckpt", max_time=1e6) == 0
    assert (fresh / "lcurve.out").read_bytes() == (finished / "lcurve.out").read_bytes()
    assert_same_bits(variables(f"model.ckpt-{LAST}"), variables(finished / f"model.ckpt-{LAST}"))


def test_time_limit_of_the_command(fresh, monkeypatch):
    """Writing a checkpoint might take longer than there is time: one step, and status 75."""
    monkeypatch.setattr("deepmd_tf.training.interrupt.FIRST_SAVING", 1e6)
    write_script(fresh)
    assert main(["--tf", "train", "input.json", "--max-time", "1000000"]) == 75
    assert listed_steps(fresh / "model.ckpt") == [1]


def test_time_limit_that_is_too_short(copied):
    before = {path: path.lstat().st_mtime_ns for path in copied.glob("model.ckpt*")}
    with pytest.raises(TrainingError, match="before the first"):
        train("input.json", restart="model.ckpt-15", max_time=-5.0)
    assert {path: path.lstat().st_mtime_ns for path in copied.glob("model.ckpt*")} == before


def test_label_that_no_system_has(fresh):
    for path in fresh.glob("data/train/*/set.*/virial.npy"):
        path.unlink()
    write_script(fresh)
    with pytest.raises(InputError, match="start_pref_v"):
        train("input.json")


def test_scale_by_worker_has_no_effect(fresh, caplog):
    caplog.set_level("INFO")
    said = "learning_rate/scale_by_worker has no effect: training is done by one process"
    write_script(fresh, training={"numb_steps": 1}, learning_rate={"scale_by_worker": "none"})
    assert train("input.json", skip_neighbor_stat=True) == 0
    assert caplog.messages.count(said) == 1


def test_without_validation_data(fresh):
    write_script(fresh, training={"validation_data": None, "numb_steps": 4})
    assert train("input.json") == 0
    lines = (fresh / "lcurve.out").read_text().splitlines()
    assert lines[0].split() == [
        "#",
        "step",
        "rmse_trn",
        "rmse_e_trn",
        "rmse_f_trn",
        "rmse_v_trn",
        "lr",
    ]
    assert steps_in(fresh / "lcurve.out") == [0, 4]


def test_checkpoint_describes_the_model_in_the_stock_dialect(finished):
    """For programs that freeze the graph of a checkpoint and do not know our operations."""
    graph = tf.MetaGraphDef.FromString((finished / f"model.ckpt-{LAST}.meta").read_bytes())
    nodes = {node.name: node.op for node in graph.graph_def.node}
    foreign = {op for op in nodes.values() if not hasattr(tf.raw_ops, op)} - {"Const"}
    assert foreign == {"ProdEnvMatA", "ProdForceSeA", "ProdVirialSeA"}
    assert {*names.INPUTS, *names.OUTPUTS, *read_checkpoint(finished).weights} <= set(nodes)
    assert nodes[names.OUT_STD] == "VariableV2"
    assert graph.saver_def.restore_op_name in nodes
