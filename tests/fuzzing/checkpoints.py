# SPDX-License-Identifier: BSD-3-Clause
"""Checkpoints: values are those that were saved, and the newest that is whole is found."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf
from saved_models import save_checkpoint

from deepmd_tf.graph.checkpoint import read_state, read_step
from deepmd_tf.graph.checkpoint_files import install, resolve, resolve_folder
from deepmd_tf.graph.frozen import read_checkpoint
from fuzzing.models import graph_variant
from fuzzing.run import Loader

_STATE = {"random": {"key": [1, 2]}, "list": [1, 2.5, None, "x"], "step": 100}
_ARRAY = {"a": {"__array__": "<f8", "shape": [2], "base64": "AAAAAAAA8D8AAAAAAAAAQA=="}}


class Checkpoint(Loader):
    """One of the files is damaged, and no manifest tells."""

    def __init__(self, folder: Path) -> None:
        self._prefix, self._values = save_checkpoint(folder)
        self._step = read_step(self._prefix)
        state = Path(f"{self._prefix}.state.json")
        state.write_text(json.dumps(_STATE | _ARRAY))
        self.files = {
            f"{self._prefix.name}{suffix}": [Path(f"{self._prefix}{suffix}").read_bytes()]
            for suffix in (".index", ".data-00000-of-00001", ".meta", ".state.json")
        }

    def variant(self, rng: random.Random, file: str) -> bytes | None:
        if not file.endswith(".meta"):
            return None
        meta = tf.MetaGraphDef.FromString(self.files[file][0])
        content = graph_variant(rng, meta.graph_def.SerializeToString())
        meta.graph_def.ParseFromString(content)
        return meta.SerializeToString()

    def load(self, file: str) -> bool:
        assert resolve(self._prefix) == self._prefix
        state = read_state(self._prefix)
        path = Path(f"{self._prefix}.state.json")
        assert state is None or isinstance(state, dict)
        assert (state is None) == (not path.exists())
        if state is not None and "__array__" in path.read_text() and "a" in state:
            found = json.loads(path.read_text())["a"]
            if isinstance(found, dict) and "__array__" in found:
                assert state["a"].dtype.str == np.dtype(found["__array__"]).str
        assert read_step(self._prefix) == self._step
        model = read_checkpoint(self._prefix)
        # the reader has check sums of its own
        for name, values in self._values.items():
            np.testing.assert_array_equal(model.weights[name], values, name)
        return True


class Manifest(Loader):
    """Two checkpoints with manifests; files of the newest are damaged."""

    def __init__(self, folder: Path) -> None:
        for step in (100, 200):
            (folder / f"{step}").mkdir()
            prefix, _ = save_checkpoint(folder / f"{step}", step=step)
            Path(f"{prefix}.state.json").write_text(json.dumps(_STATE))
            install(prefix, folder / prefix.name)
        self._folder = folder
        self.files = {
            path.name: [path.read_bytes()] for path in sorted(folder.glob("model.ckpt-200.*"))
        }
        self._good = {name: seeds[0] for name, seeds in self.files.items()}

    def variant(self, rng: random.Random, file: str) -> bytes | None:
        if not file.endswith(".manifest.json"):
            return None
        manifest = json.loads(self.files[file][0])
        files = manifest["files"]
        suffix = rng.choice(list(files))
        kind = rng.randrange(6)
        if kind == 0:
            del files[suffix]
        elif kind == 1:
            files["/../../../dev/zero"] = files.pop(suffix)
        elif kind == 2:
            files[suffix] = rng.choice(([], [0, ""], None, 1, [files[suffix][0], "é"], {"a": 1}))
        elif kind == 3:
            files[rng.choice(("", ".x", 5, "\0"))] = files[suffix]
        elif kind == 4:
            manifest = rng.choice(({}, {"files": {}}, {"files": []}, [], 1, None))
        else:
            return b"[" * 200_000
        return json.dumps(manifest).encode()

    def load(self, file: str) -> bool:
        found = resolve(self._folder / "model.ckpt")
        if found.name == "model.ckpt-200":
            # whole: what the good manifest says of all files holds
            said = json.loads(self._good["model.ckpt-200.manifest.json"])["files"]
            for suffix, (size, digest) in said.items():
                data = Path(f"{found}{suffix}").read_bytes()
                assert (len(data), hashlib.sha256(data).hexdigest()) == (size, digest)
        else:
            assert found.name == "model.ckpt-100"
        return True


class Record(Loader):
    """The file ``checkpoint`` of a folder, and the link to the index of the newest one."""

    def __init__(self, folder: Path) -> None:
        for step in (100, 200):
            save_checkpoint(folder, step=step)
        self._folder = folder
        text = b'model_checkpoint_path: "model.ckpt-200"\n'
        text += b'all_model_checkpoint_paths: "model.ckpt-100"\n'
        text += b'all_model_checkpoint_paths: "model.ckpt-200"\n'
        self.files = {"checkpoint": [text]}

    def load(self, file: str) -> bool:
        known = [self._folder / f"model.ckpt-{step}" for step in (100, 200)]
        assert resolve(self._folder / "model.ckpt") in known
        assert resolve_folder(self._folder) in known
        return True


LOADERS: dict[str, Callable[[Path], Loader]] = {
    "checkpoint": Checkpoint,
    "manifest": Manifest,
    "record": Record,
}
