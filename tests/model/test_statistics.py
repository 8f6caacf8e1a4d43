# SPDX-License-Identifier: BSD-3-Clause
"""Statistics of training data against brute force and against the formulas."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

import numpy as np
import pytest
from saved_models import water_like
from scipy.spatial import cKDTree

from deepmd_tf.data import DataSystem, write_system
from deepmd_tf.environment import Cutoff, EnvironmentSpec, Selection
from deepmd_tf.fields import ENERGY
from deepmd_tf.model.statistics import (
    energy_bias,
    environment_scale,
    environment_sums,
    neighbor_statistics,
    resolve_sel,
    sel_warnings,
)

RCUT = 3.25  # a float32 number


@pytest.fixture
def system(tmp_path, rng):
    """24 atoms, three triclinic frames, energies."""
    coord, box, types = water_like(rng, n_frames=3)
    write_system(
        tmp_path / "system",
        types=types,
        coord=coord.reshape(3, -1),
        box=box,
        type_map=["O", "H"],
        energy=rng.normal(size=3) - 50.0,
        dtype=np.float64,
    )
    return DataSystem(tmp_path / "system", type_map=["O", "H"], fields=(ENERGY,))


def neighbors(batch):
    """For each centre by brute force: its type, and displacements of neighbours {type: [n, 3]}."""
    images = np.array(list(itertools.product((-1, 0, 1), repeat=3)))
    types = batch.arrays["type"][0]
    for coord, box in zip(batch.arrays["coord"], batch.arrays["box"], strict=True):
        r, cells = coord.reshape(-1, 3), images @ box.reshape(3, 3)
        for i, center in enumerate(r):
            x = r[:, None] + cells - center
            distance = np.linalg.norm(x, axis=-1)
            near = (distance < RCUT) & (distance > 0)
            yield types[i], {t: x[(types == t)][near[types == t]] for t in (0, 1)}


def test_neighbor_statistics(system):
    (batch,) = system.batches()
    found = neighbor_statistics([batch], ntypes=2, rcut=RCUT)
    everything = list(neighbors(batch))
    distances = [np.linalg.norm(x, axis=1) for _, by_type in everything for x in by_type.values()]
    assert found.min_distance == pytest.approx(np.concatenate(distances).min(), rel=1e-12)
    most = [max(len(by_type[t]) for _, by_type in everything) for t in (0, 1)]
    np.testing.assert_array_equal(found.max_neighbors, most)


def busy_threads() -> dict[str, int]:
    """CPU time of each thread of this process, in ticks."""
    found = {}
    for stat in Path("/proc/self/task").glob("*/stat"):
        words = stat.read_text().rpartition(")")[2].split()
        found[stat.parent.name] = int(words[11]) + int(words[12])
    return found


def test_many_atoms(tmp_path, rng):
    """In linear time and by several threads; all pairs would be 10^10."""
    edge, natoms = 130.0, 100_000
    coord = rng.uniform(0, edge, (natoms, 3))
    box = edge * np.eye(3)[None]
    write_system(tmp_path, types=np.zeros(natoms, int), coord=coord[None], box=box)
    (batch,) = DataSystem(tmp_path).batches()
    # the second time there are threads, and the operation is loaded
    neighbor_statistics([batch], ntypes=1, rcut=RCUT)
    before, start = busy_threads(), time.process_time()
    found = neighbor_statistics([batch], ntypes=1, rcut=RCUT)
    assert time.process_time() - start < 8.0
    shares = [ticks - before.get(thread, 0) for thread, ticks in busy_threads().items()]
    if len(os.sched_getaffinity(0)) > 1:
        # how much each does depends on what else the machine does
        assert sum(share > 0 for share in shares) > 1
    tree = cKDTree(coord, boxsize=edge)
    assert found.min_distance == pytest.approx(tree.query(coord, 2)[0][:, 1].min(), rel=1e-12)
    near = tree.query_ball_point(coord, RCUT, return_length=True) - 1
    assert found.max_neighbors.tolist() == [near.max()]


def test_no_neighbors(system):
    (batch,) = system.batches()
    found = neighbor_statistics([batch], ntypes=2, rcut=0.1)
    assert found.min_distance == np.inf
    np.testing.assert_array_equal(found.max_neighbors, 0)


@pytest.mark.parametrize("exclude", [[], [[0, 1]]])
def test_environment_statistics(system, exclude):
    """Every slot counts, the empty ones with zeros."""
    (batch,) = system.batches()
    spec = EnvironmentSpec(
        Cutoff(RCUT, 0.5), Selection((20, 30)), 2, exclude_types=tuple(map(tuple, exclude))
    )
    avg, std = environment_scale(environment_sums([batch], spec), RCUT)
    rows = {0: [], 1: []}
    for center, by_type in neighbors(batch):
        padded = np.zeros((50, 4))
        for t, x in by_type.items():
            if [center, t] in exclude or [t, center] in exclude:
                continue
            r = np.linalg.norm(x, axis=1)
            u = np.clip((r - 0.5) / (RCUT - 0.5), 0, 1)
            s = (u**3 * (-6 * u**2 + 15 * u - 10) + 1) / r
            start = 20 * t
            padded[start : start + len(r)] = s[:, None] * np.column_stack(
                [np.ones_like(r), x / r[:, None]]
            )
        rows[center].append(padded)
    for t in (0, 1):
        values = np.concatenate(rows[t])
        np.testing.assert_allclose(avg[t], [values[:, 0].mean(), 0, 0, 0], rtol=1e-12)
        angular = np.sqrt((values[:, 1:] ** 2).mean() - values[:, 1:].mean() ** 2)
        np.testing.assert_allclose(std[t], [values[:, 0].std(), *[angular] * 3], rtol=1e-10)


def test_types_without_atoms_or_neighbors(system):
    (batch,) = system.batches()
    natoms = np.concatenate([batch.natoms, [0]]).astype(np.int32)
    three = type(batch)(batch.arrays, natoms, batch.mesh, 0, batch.set_name, batch.frames)
    spec = EnvironmentSpec(Cutoff(RCUT, 0.5), Selection((20, 30, 5)), 3)
    sums = environment_sums([three], spec)
    avg, std = environment_scale(sums, 3.3)
    np.testing.assert_array_equal(std[2], 1 / 3.3)  # no atoms
    np.testing.assert_array_equal(avg[2], 0)
    near = EnvironmentSpec(Cutoff(0.1, 0.05), Selection((4, 4)), 2)
    _, lonely = environment_scale(environment_sums([batch], near), 0.1)
    np.testing.assert_allclose(lonely, 1e-2)  # no neighbours: the floor


class Composition:
    """What energy_bias reads of a batch."""

    def __init__(self, counts, energies, find=1.0):
        self.counts = np.tile(counts, (len(energies), 1))
        self.arrays = {"energy": np.asarray(energies), "find_energy": np.float32(find)}


def test_energy_bias_is_exact_for_additive_energies():
    batches = [Composition(c, [-3.0 * c[0] + 0.5 * c[1]]) for c in ((1, 2), (3, 1), (2, 2))]
    bias, rmse = energy_bias(batches, ntypes=2)
    np.testing.assert_allclose(bias, [-3.0, 0.5], rtol=1e-12)
    assert rmse < 1e-13


def test_energy_bias_of_one_composition_is_the_shortest_solution():
    bias, rmse = energy_bias([Composition((1, 2), [-10.0, -11.0])], ntypes=2)
    np.testing.assert_allclose(bias, np.array([1, 2]) * -10.5 / 5, rtol=1e-12)
    assert rmse == pytest.approx(0.5 / 3)


def test_known_atomic_energies_are_kept():
    batches = [Composition((1, 2), [-7.0]), Composition((2, 2), [-9.0])]
    bias, _ = energy_bias(batches, ntypes=2, atom_ener=[None, -2.0])
    # least squares of b with 1 b = -3 and 2 b = -5
    np.testing.assert_allclose(bias, [-13 / 5, -2.0], rtol=1e-12)
    np.testing.assert_allclose(energy_bias(batches, ntypes=2, atom_ener=[-1.0, -2.0])[0], [-1, -2])


def test_frames_without_energy_are_skipped():
    batches = [Composition((1, 0), [5.0]), Composition((1, 0), [0.0], find=0.0)]
    np.testing.assert_allclose(energy_bias(batches, ntypes=1 + 1)[0], [5.0, 0.0])
    bias, rmse = energy_bias(batches[1:], ntypes=2)
    np.testing.assert_array_equal(bias, 0)
    assert np.isnan(rmse)


@pytest.mark.parametrize(
    ("sel", "expected"),
    [([5, 7], [5, 7]), ("auto", [44, 84]), ("auto:1.5", [60, 116]), ("auto:1", [40, 76])],
)
def test_resolve_sel(sel, expected):
    # 40 · 1.1 = 44, 76 · 1.1 = 83.6 → 83 → 84; 76 · 1.5 = 114 → 116
    assert resolve_sel(sel, np.array([40, 76])) == expected


def test_warning_for_a_small_sel():
    assert list(sel_warnings([40, 80], np.array([40, 76]))) == []
    (message,) = sel_warnings([40, 60], np.array([40, 76]))
    assert "sel of type 1 is not enough" in message and "not less than 76" in message
