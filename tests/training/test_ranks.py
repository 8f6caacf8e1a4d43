# SPDX-License-Identifier: BSD-3-Clause
"""A training on several ranks makes the steps of one process with as many frames."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import small
from small_training import (
    EDGE,
    add_hessians,
    add_parameters,
    add_tensors,
    make_mixed_frames,
    tensor_sections,
    write_mixed,
    write_script,
)
from thread_ranks import ThreadRanks, on_ranks, train

from deepmd_tf.config import Config
from deepmd_tf.data.batch import FREE_MESH, Batch, merge, natoms_vector
from deepmd_tf.errors import InputError, TrainingError
from deepmd_tf.training import entrypoint, pace
from deepmd_tf.training.shares import make_sharing

from .checkpoints import variables

STEPS = 6
PLAIN = {"numb_steps": STEPS, "disp_freq": 2, "save_freq": 3}


def script(folder: Path, batch_size, **sections) -> Path:
    """An input script without a growing learning rate."""
    training = PLAIN | sections.get("training", {})
    training["training_data"] = {"systems": "data/train", "batch_size": batch_size}
    rate = {"scale_by_worker": "none"} | sections.get("learning_rate", {})
    whole = small.script(fitting_net=sections.pop("fitting_net", None))
    whole |= sections.pop("replaced", {})
    sections |= {"training": training, "learning_rate": rate}
    return write_script(folder, whole, **sections)


def assert_close(one: Path, other: Path, steps: int = STEPS) -> None:
    """Weights equal to rounding, 1e-12 for each step."""
    found, expected = (variables(folder / f"model.ckpt-{steps}") for folder in (one, other))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        scale = max(float(np.max(np.abs(value), initial=0)), 1e-3)
        np.testing.assert_allclose(
            found[name], value, rtol=0, atol=steps * 1e-12 * scale, err_msg=name
        )


def compare(folder: Path, monkeypatch, size: int, per_rank, whole, **sections) -> None:
    """Train on ``size`` ranks, and on one with the batches of all."""
    for name in ("ranks", "one"):
        shutil.copytree(folder / "data", folder / name / "data")
    monkeypatch.chdir(folder / "ranks")
    assert train(monkeypatch, size, script(folder / "ranks", per_rank, **sections)) == [0] * size
    monkeypatch.chdir(folder / "one")
    assert entrypoint.train(script(folder / "one", whole, **sections)) == 0
    assert_close(folder / "ranks", folder / "one")
    curves = [(folder / name / "lcurve.out").read_text() for name in ("ranks", "one")]
    assert curves[0] == curves[1]


def test_two_ranks_make_the_steps_of_one(fresh, monkeypatch):
    compare(fresh, monkeypatch, 2, 1, 2)


@pytest.mark.slow
def test_four_ranks(fresh, monkeypatch):
    compare(fresh, monkeypatch, 4, 1, 4)


@pytest.mark.slow
def test_fewer_frames_than_ranks(fresh, monkeypatch):
    compare(fresh, monkeypatch, 3, 2, 2, training={"batch_size_per": "step"})


@pytest.mark.slow
@pytest.mark.parametrize("per", ["step", "process"])
def test_restart_with_another_number_of_processes(fresh, monkeypatch, caplog, per):
    """Steps have as many frames as before if they are of the step; what is said is true."""
    caplog.set_level("INFO")
    name = script(fresh, 2, training={"batch_size_per": per})
    assert entrypoint.train(name) == 0
    folders = fresh, fresh / "again"
    shutil.copytree(fresh, folders[1])
    monkeypatch.chdir(folders[1])
    assert train(monkeypatch, 2, name, restart="model.ckpt-3") == [0, 0]
    said = [r for r in caplog.records if "training on 1 process(es)" in r.getMessage()]
    if per == "step":
        assert "are those of an uninterrupted training up to rounding" in said[0].getMessage()
        assert said[0].levelname == "INFO"
        assert_close(*folders)
        return
    assert "steps have another number of frames" in said[0].getMessage()
    assert said[0].levelname == "WARNING"
    with pytest.raises(AssertionError):
        assert_close(*folders)


@pytest.mark.slow
def test_frames_of_different_systems(fresh, monkeypatch):
    for name, edge in (("a", EDGE), ("b", None)):
        write_mixed(fresh / "data/train" / name, make_mixed_frames(len(name), 8, edge), edge)
    compare(fresh, monkeypatch, 2, "mixed:2", "mixed:4")


@pytest.mark.slow
def test_directions_of_hessians(fresh, monkeypatch):
    add_hessians(fresh)
    loss = {"start_pref_h": 1.0, "limit_pref_h": 1.0, "hessian_mode": "probe:1"}
    compare(fresh, monkeypatch, 3, 1, 3, loss=loss)


@pytest.mark.slow
def test_hessians_in_blocks(fresh, monkeypatch):
    monkeypatch.setattr("deepmd_tf.training.blocks.PAIRS_AT_ONCE", 20)
    add_hessians(fresh)
    loss = {"start_pref_h": 1.0, "limit_pref_h": 1.0, "hessian_mode": "full"}
    compare(fresh, monkeypatch, 2, 1, 2, loss=loss)


@pytest.mark.slow
def test_parameters_full_validation_and_bias(fresh, monkeypatch):
    add_parameters(fresh)
    validating = {"full_validation": True, "validation_freq": 2, "full_val_start": 0.0}
    compare(
        fresh,
        monkeypatch,
        2,
        2,
        4,
        fitting_net={"numb_fparam": 1, "numb_aparam": 2},
        validating=validating,
        training={"change_bias_after_training": True},
    )
    tables = [(fresh / name / "val.log").read_text() for name in ("ranks", "one")]
    assert tables[0] == tables[1]


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_all(fresh, monkeypatch):
    energy = next((fresh / "data/train/cell").glob("set.*/energy.npy"))
    values = np.load(energy)
    values[:] = 1e300
    np.save(energy, values)
    name = script(fresh, 1, training={"seed": 1})
    with pytest.raises(TrainingError, match="the loss is not a finite number"):
        train(monkeypatch, 2, name)
    assert len(list(fresh.glob("model.ckpt-bad-batch-*"))) == 1


def test_terms_that_compare_frames_are_refused(fresh, monkeypatch):
    name = script(fresh, 2, loss={"start_pref_de": 1.0, "limit_pref_de": 1.0})
    with pytest.raises(InputError, match=r"start_pref_de: .* on 2 processes"):
        train(monkeypatch, 2, name)
    with pytest.raises(InputError, match=r"--dry-run: .* by one process"):
        train(monkeypatch, 2, script(fresh, 1), dry_run=True)
    assert not list(fresh.glob("*.ckpt*"))


def test_cut_of_a_batch_of_several_systems(rng):
    """Parts, widths and flags are those of the whole."""
    parts = []
    for system, (nframes, natoms) in enumerate([(2, 3), (1, 5)]):
        types = np.tile(np.arange(natoms, dtype=np.int32) % 2, (nframes, 1))
        arrays = {
            "coord": rng.normal(size=(nframes, 3 * natoms)),
            "box": np.zeros((nframes, 9)),
            "type": types,
            "energy": rng.normal(size=nframes),
            "find_energy": np.float32(system),
        }
        vector = natoms_vector(types, 2)
        parts.append(Batch(arrays, vector, FREE_MESH, system, "set.000", np.arange(nframes)))
    whole = merge(parts)
    for begin, end in ((0, 3), (0, 1), (1, 3), (2, 3), (1, 1)):
        part = whole.cut(begin, end)
        assert part.nframes == end - begin
        for name in ("coord", "type", "energy"):
            np.testing.assert_array_equal(part.arrays[name], whole.arrays[name][begin:end])
        np.testing.assert_array_equal(part.sizes, whole.sizes[begin:end])
        if part.nframes:
            np.testing.assert_array_equal(part.found("energy"), whole.found("energy")[begin:end])
            found = [
                (one.system, int(one.frames[k])) for one, k in map(part.locate, range(end - begin))
            ]
            expected = [
                (one.system, int(one.frames[k])) for one, k in map(whole.locate, range(begin, end))
            ]
            assert found == expected


@pytest.mark.parametrize(
    ("scale", "per", "factor"),
    [
        ("linear", "process", 4),
        ("sqrt", "process", 2),
        ("none", "process", 1),
        ("linear", "step", 1),
    ],
)
def test_learning_rate(caplog, scale, per, factor):
    caplog.set_level("INFO")
    keys = small.script(learning_rate={"scale_by_worker": scale}, training={"batch_size_per": per})
    ranks = ThreadRanks(0, 4, None, [])
    assert make_sharing(Config.from_dict(keys), ranks).lr_factor == factor
    assert f"begins at {0.005 * factor:g}" in caplog.text


def test_a_slow_rank_is_named_once(caplog, monkeypatch):
    monkeypatch.setattr(pace, "SECONDS", 0.0)

    def work(ranks):
        watched = pace.Pace(ranks)
        for _ in range(3 * pace.WINDOW):
            watched.step_took(0.5, 0.0 if ranks.rank == 2 else 0.4)

    on_ranks(3, work)
    assert [r.getMessage()[:6] for r in caplog.records].count("rank 2") == 3  # once on each rank


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dipole", "dos"])
def test_other_kinds_of_models(fresh, monkeypatch, kind):
    add_tensors(fresh)
    sections = tensor_sections(kind)
    model = small.script()["model"] | {"fitting_net": sections["fitting_net"]}
    compare(fresh, monkeypatch, 2, 1, 2, replaced={"model": model, "loss": sections["loss"]})


@pytest.mark.slow
def test_sums_of_models(fresh, monkeypatch):
    single = small.script()["model"]
    members = [{key: single[key] for key in ("descriptor", "fitting_net")} for _ in range(2)]
    members[1]["fitting_net"] = members[1]["fitting_net"] | {"seed": 5}
    keys = {"type": "linear_ener", "type_map": ["O", "H"], "weights": "mean"}
    compare(fresh, monkeypatch, 2, 1, 2, replaced={"model": keys | {"models": members}})
