# SPDX-License-Identifier: BSD-3-Clause
"""Write a small native file and what it computes, for the tests of older formats.

Run it in a checkout of the version whose format is to be kept, before the format changes:

    PYTHONPATH=. python tests/native_files/make.py tests/native_files/format_1

writes ``format_1.pb.gz`` and ``format_1.npz`` (coordinates, cells, types; energies, forces, virials
of the graph in the file). Format 0 was written by the last version without a number of the format.
Files are never made again: they are there to be read.
"""

from __future__ import annotations

import gzip
import sys
import tempfile
from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from saved_models import save_checkpoint, small_input, water_like

from deepmd_tf import names
from deepmd_tf.export.freeze import freeze
from deepmd_tf.ops import library


def main(prefix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        script = small_input(
            {"type_one_side": True, "neuron": [2, 4], "axis_neuron": 2, "precision": "float32"}
        )
        checkpoint, _ = save_checkpoint(Path(folder), script)
        path = Path(folder) / "native.pb"
        freeze(checkpoint, path, dialect="native")
        data = path.read_bytes()
    coords, cells, types = water_like(np.random.default_rng(7))
    order = np.argsort(types, kind="stable")
    coords, types = coords[:, order], types[order]
    n_frames, n_atoms = coords.shape[:2]
    library.native()
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(tf.GraphDef.FromString(data), name="")
        feed = {
            names.T_COORD: coords.ravel(),
            names.T_TYPE: np.tile(types, n_frames),
            names.T_NATOMS: np.array([n_atoms, n_atoms, *np.bincount(types)], np.int32),
            names.T_BOX: cells.ravel(),
            names.T_MESH: np.zeros(6, np.int32),
        }
        with tf.Session(graph=graph) as session:
            energy, force, virial = session.run(
                [f"{name}:0" for name in (names.O_ENERGY, names.O_FORCE, names.O_VIRIAL)],
                {f"{name}:0": value for name, value in feed.items()},
            )
    with open(f"{prefix}.pb.gz", "wb") as file:
        file.write(gzip.compress(data, mtime=0))
    np.savez_compressed(
        f"{prefix}.npz",
        coords=coords, cells=cells, types=types, energy=energy, force=force, virial=virial,
    )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1])
