# SPDX-License-Identifier: BSD-3-Clause
"""A command imports TensorFlow without what it does not need, and nothing is broken by that."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from deepmd_tf.cli._tensorflow import _hidden

MEASURE = """
import gc, importlib.util, json, sys
{before}
from deepmd_tf.cli._tensorflow import import_tensorflow
import_tensorflow()
found = {{
    "keras": "keras" in sys.modules,
    "frozen": gc.get_freeze_count(),
    "collects": gc.isenabled(),
    "sum": float(sys.modules["tensorflow"].constant([1.0, 2.0]).numpy().sum()),
}}
if importlib.util.find_spec("keras") is not None:
    import keras
    import tensorflow as tf
    found["same"] = tf.keras.optimizers.Adam is keras.optimizers.Adam
print(json.dumps(found))
"""


def run(before: str) -> dict:
    program = [sys.executable, "-c", MEASURE.format(before=before)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_import_of_a_command():
    found = run("")
    assert not found["keras"]
    assert found["frozen"] > 100_000
    assert found["collects"]
    assert found["sum"] == 3.0
    assert found.get("same", True), "Keras must work when somebody imports it later"


def test_tensorflow_of_others_stays_as_it_is():
    found = run("import tensorflow")
    assert found["keras"] == ("same" in found)
    assert found["frozen"] == 0
    assert found["sum"] == 3.0
    assert found.get("same", True)


def test_hidden_packages_come_back(monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with pytest.raises(ZeroDivisionError), _hidden("colorsys", "json"):
        assert sys.modules["json"] is json, "what is imported stays"
        with pytest.raises(ImportError):
            import colorsys
        raise ZeroDivisionError
    import colorsys

    assert colorsys.rgb_to_hsv(0.0, 0.0, 0.0) == (0.0, 0.0, 0.0)
