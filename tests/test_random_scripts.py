# SPDX-License-Identifier: BSD-3-Clause
"""Random valid input scripts are trained or refused with one message, see :mod:`fuzzing.trainings`.

``python -m fuzzing.trainings --cases 10000`` is the long version.
"""

from __future__ import annotations

import json
import random
import warnings
from typing import Literal

import pytest
from fuzzing import trainings
from fuzzing.run import FailureError
from fuzzing.scripts import UnknownValueError, draw_script, draw_value, keys

from deepmd_tf.config.loss import LossConfig
from deepmd_tf.config.section import about, option
from deepmd_tf.config.values import Bool


@pytest.fixture
def folder(tmp_path):
    trainings.write_data(tmp_path)
    return tmp_path


def test_some_are_trained(folder, record_property) -> None:
    counts = trainings.run(range(3, 6), 1, folder)
    assert counts["trained"] >= 1, counts
    record_property("counted", ("random input scripts", {"tried": counts.total()}))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_many_are_trained(folder, record_property) -> None:
    counts = trainings.run(range(200), 2, folder)
    assert counts["trained"] >= 35, counts
    record_property("counted", ("random input scripts", {"tried": counts.total()}))


@pytest.mark.parametrize(
    ("cls", "name"), keys(), ids=[f"{cls.__name__}.{name}" for cls, name in keys()]
)
def test_every_key_has_values(cls, name) -> None:
    if about(cls.model_fields[name])["later"]:
        return
    found = {json.dumps(draw_value(random.Random(k), cls, name), sort_keys=True) for k in range(30)}
    assert len(found) > 1 or name in ("type", "scale_by_worker")


def test_a_new_kind_and_its_keys_are_drawn(monkeypatch) -> None:
    monkeypatch.setattr(LossConfig, "registered", dict(LossConfig.registered))

    @LossConfig.register
    class Another(LossConfig):
        type: Literal["another"] = option(doc="A loss.")
        wobble: Bool = option(False, doc="A key.")

    found = [draw_script(random.Random(k)).get("loss", {}) for k in range(400)]
    assert any(loss.get("type") == "another" and "wobble" in loss for loss in found)

    @LossConfig.register
    class Strange(LossConfig):
        type: Literal["strange"] = option(doc="A loss.")
        wobble: complex = option(0j, doc="A key of a type that nobody knows.")

    with pytest.raises(UnknownValueError, match=r"Strange\.wobble: .* add it to"):
        draw_value(random.Random(1), Strange, "wobble")


@pytest.mark.parametrize("mistake", ["an exception", "a warning", "words of Python"])
def test_mistakes_are_found(folder, monkeypatch, mistake) -> None:
    def train(path):
        if mistake == "a warning":
            warnings.warn("overflow", RuntimeWarning, stacklevel=2)
        if mistake == "an exception":
            raise KeyError("sel")
        raise trainings.DeepmdError("expected a number, not NoneType")

    monkeypatch.setattr("deepmd_tf.training.entrypoint.train", train)
    with pytest.raises(FailureError, match=r"seed 1, case \d+, .*input\.json: "):
        trainings.run(range(10), 1, folder)
