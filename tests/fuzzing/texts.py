# SPDX-License-Identifier: BSD-3-Clause
"""Input scripts, learning curves and lists; judged by Python's JSON, PyYAML and by hand."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from deepmd_tf.analysis.learning_curve import read_curve, read_run
from deepmd_tf.config import Config, load_input, read_input
from fuzzing.damage import WORDS
from fuzzing.run import Loader

_SCRIPT = {
    "model": {
        "type_map": ["O", "H"],
        "descriptor": {"type": "se_e2_a", "sel": [46, 92], "rcut": 6.0, "neuron": [25, 50]},
        "fitting_net": {"neuron": [240, 240], "resnet_dt": True, "seed": 1},
    },
    "learning_rate": {"type": "exp", "start_lr": 1e-3, "stop_lr": 1e-6, "decay_steps": 10},
    "loss": {"type": "ener", "start_pref_e": 0.02, "limit_pref_e": 1},
    "training": {
        "training_data": {"systems": ["a", "b"], "batch_size": "auto:32"},
        "numb_steps": 100,
        "_comment": [None, 1.5, True],
    },
}
_VALUES = (
    None, True, False, 0, 1, -1, 2, 3.5, 1e-8, -0.0, 1e300, 10**30, math.nan, math.inf, "", "auto",
    "x" * 300, "6.0", "é", [], [1], [[1]], [None], {}, {"a": 1}, {"type": "se_a"}, "auto:8", "exp",
)  # fmt: skip


class Script(Loader):
    """What the keys of an input script are, and all that they must be."""

    def __init__(self, folder: Path, suffix: str) -> None:
        self._path = folder / f"input.{suffix}"
        if suffix == "json":
            seeds = [json.dumps(_SCRIPT, indent=1).encode(), json.dumps(_SCRIPT).encode()]
        else:
            anchors = b"a: &a {x: 1}\nb: {<<: *a}\nc: [*a, 1e-3, .5, !!str 3, 2001-01-01]\n"
            seeds = [yaml.safe_dump(_SCRIPT).encode(), anchors]
        self.files = {self._path.name: seeds}

    def variant(self, rng: random.Random, file: str) -> bytes:
        """A script with other values, keys and blocks."""
        script = json.loads(json.dumps(_SCRIPT))
        for _ in range(rng.choice((1, 1, 2))):
            places = [(script, key) for key in script]
            places += [(v, k) for v in script.values() if isinstance(v, dict) for k in v]
            places += [
                (v, k)
                for block in script.values()
                if isinstance(block, dict)
                for v in block.values()
                if isinstance(v, dict | list)
                for k in (v if isinstance(v, dict) else range(len(v)))
            ]
            if not places:
                break
            block, key = rng.choice(places)
            kind = rng.randrange(4)
            if kind < 2:
                block[key] = rng.choice(_VALUES)
            elif kind == 2 and isinstance(block, dict):
                word = rng.choice(("x", "_x", "seed", str(key).upper(), f"{key}s", "sel", ""))
                block[word] = block.pop(key)
            else:
                del block[key]
        text = json.dumps(script) if file.endswith("json") else yaml.safe_dump(script)
        return text.encode()

    def load(self, file: str) -> bool:
        keys = read_input(self._path)
        assert type(keys) is dict
        text = self._path.read_text(encoding="utf-8-sig")
        judged = _agree(keys, text) if file.endswith("json") else _agree_yaml(keys, text)
        if self._path.read_bytes() == self.files[file][-1] and file.endswith("yaml"):
            return judged
        config = load_input(self._path)
        again = config.to_dict()
        assert Config.from_dict(again) == config
        for path, value in _leaves(keys):
            found = _at(again, path)
            # what is left out is a comment, or an option that has another name now; null is unset
            if found is not _NOTHING and value is not None and not isinstance(value, dict | list):
                assert found == value or _is_wider(found, value), (path, found, value)
        return judged


def _agree(found: Any, text: str) -> bool:
    """Whether the file says that, NaN included; fails if not."""
    assert repr(found) == repr(json.loads(text))
    return True


def _agree_yaml(found: Any, text: str) -> bool:
    """As PyYAML reads it, but for numbers as 1e-3, which it takes for text."""
    expected = yaml.safe_load(text)

    def same(a: Any, b: Any) -> bool:
        if isinstance(a, dict) and isinstance(b, dict):
            return same(list(a), list(b)) and same(list(a.values()), list(b.values()))
        if isinstance(a, list) and isinstance(b, list):
            return len(a) == len(b) and all(map(same, a, b))
        if isinstance(a, float) and isinstance(b, str):
            return repr(float(b)) == repr(a)
        return repr(a) == repr(b)

    assert same(found, expected), (found, expected)
    return True


_NOTHING = object()


def _leaves(value: Any, path: tuple = ()) -> Iterator[tuple[tuple, Any]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    else:
        yield path, value


def _at(value: Any, path: tuple) -> Any:
    for key in path:
        if not isinstance(value, dict) or key not in value:
            return _NOTHING
        value = value[key]
    return value


def _is_wider(found: Any, value: Any) -> bool:
    """One value that stands for many, or another word for the same."""
    if isinstance(found, float) and type(value) is int:
        return found == float(value)
    return found == [value] or (found, value) == ("se_e2_a", "se_a")


_CURVE = b"""#  step      rmse_val    rmse_trn    rmse_e_val  rmse_e_trn  rmse_f_val  rmse_f_trn  lr
# If there is no available reference data, rmse_*_{val,trn} will print nan
      0      2.98e+01    2.76e+01    1.00e+00    nan    9.43e-01    8.74e-01    1.0e-03
    100      1.88e+01    1.69e+01    9.00e-01    6.00e-01    5.95e-01    5.36e-01    9.9e-04
    200      1.27e+01    1.34e+01    1.00e-01    1.00e-01    4.02e-01    4.24e-01    9.8e-04
"""
_RESTARTED = _CURVE + b"".join(_CURVE.splitlines(keepends=True)[2:4])


class Curve(Loader):
    """``lcurve.out`` and the script beside it, drawn; by hand, what a row is."""

    words = (*WORDS, b"#", b"step", b"batch", b"rmse_h_trn", b"100", b"1e3", b"nan")

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lcurve.out"
        self.files = {
            "lcurve.out": [_CURVE, _RESTARTED],
            "input.json": [json.dumps(_SCRIPT).encode()],
        }

    def variant(self, rng: random.Random, file: str) -> bytes | None:
        if file != "input.json":
            return None
        script = json.loads(json.dumps(_SCRIPT))
        block = rng.choice((script, script["loss"], script["learning_rate"]))
        block[rng.choice(list(block))] = rng.choice(_VALUES)
        return rng.choice((json.dumps(script), "[" * 200_000)).encode()

    def load(self, file: str) -> bool:
        run = read_run(self._path, "a", self._path.parent / "input.json")
        steps, table = read_curve(self._path)
        assert all(type(step) is int or step.dtype.kind == "i" for step in steps)
        assert (np.diff(steps) > 0).all() and len(steps) > 0
        assert all(values.shape == steps.shape for values in table.values())
        assert all(values.shape == steps.shape for values in run.prefactors.values())
        text = self._path.read_bytes().decode("utf-8", errors="replace")
        lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
        for k, step in enumerate(steps):
            numbers = [values[k] for values in table.values()]
            numbers = [n for n in numbers if not math.isnan(n)]
            # each number stands in a row of that step
            rows = [r for r in lines if r and _number(r[0]) == step]
            assert any({*numbers} <= {_number(word) for word in row} for row in rows)
        return True


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan


class Continued(Loader):
    """The table that a training goes on with."""

    words = Curve.words

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lcurve.out"
        self.files = {"lcurve.out": [_CURVE, _RESTARTED]}

    def load(self, file: str) -> bool:
        from deepmd_tf.training.lcurve import StepTable

        before = self._path.read_text(errors="replace") if self._path.is_file() else ""
        head = "".join(_CURVE.decode().splitlines(keepends=True)[:2])
        table = StepTable(self._path, head)
        table.open(after_step=150)
        table.append("    150  7")
        table.close()
        after = self._path.read_text()
        assert head in after and after.endswith("    150  7\n")
        rows = [line for line in after.split("\n")[:-2] if line and not line.startswith("#")]
        steps = [int(row.split()[0]) for row in rows]
        assert steps == sorted(set(steps)) and all(0 <= s <= 150 for s in steps if s >= 0)
        assert all(row.strip() in before for row in rows)
        return True


class Lists(Loader):
    """A list of systems, as ``dp test -f`` reads it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "systems.txt"
        self.files = {"systems.txt": [b"data/one\ndata/two\n\n", "daten/größe\n".encode()]}

    def load(self, file: str) -> bool:
        from deepmd_tf.inference.testing import find_systems

        found = find_systems(list_file=str(self._path))
        assert found == [w.strip() for w in self._path.read_text().splitlines() if w.strip()]
        return True


LOADERS: dict[str, Callable[[Path], Loader]] = {
    "json": lambda folder: Script(folder, "json"),
    "yaml": lambda folder: Script(folder, "yaml"),
    "curve": Curve,
    "continued curve": Continued,
    "list": Lists,
}
