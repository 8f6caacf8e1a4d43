# SPDX-License-Identifier: BSD-3-Clause
"""What may be wrong with data: each check finds its mistake, and nothing in data without one."""

from __future__ import annotations

import numpy as np
import pytest

from deepmd_tf import fields
from deepmd_tf.data import DataSystem, write_system
from deepmd_tf.data.checks.closeness import close_pairs
from deepmd_tf.data.checks.examine import examine
from deepmd_tf.data.checks.findings import Findings

LABELS = (fields.ENERGY, fields.FORCE, fields.VIRIAL)
GPA = 160.21766


def look(*paths, validation=()) -> list[str]:
    findings = Findings()
    train, valid = ([DataSystem(p, fields=LABELS) for p in ps] for ps in (paths, validation))
    examine(train, valid, findings)
    assert all(finding.doubt for finding in findings)
    return [str(finding) for finding in findings]


def errors(path) -> list[str]:
    findings = Findings()
    examine([DataSystem(path, fields=LABELS)], [], findings)
    assert not findings.doubts
    return [str(finding) for finding in findings]


def images(cell: np.ndarray) -> np.ndarray:
    steps = np.arange(-2, 3)
    return np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3) @ cell


def distances(coord: np.ndarray, cell: np.ndarray | None) -> np.ndarray:
    """The shortest of any two atoms, images of others included."""
    x = coord[None] - coord[:, None]
    shifts = np.zeros((1, 3)) if cell is None else images(cell)
    shortest = np.linalg.norm(x[:, :, None] + shifts, axis=-1).min(axis=-1)
    np.fill_diagonal(shortest, np.inf)
    return shortest


class TestCloseAtoms:
    @pytest.mark.parametrize("periodic", [True, False])
    def test_every_frame_that_has_some(self, periodic) -> None:
        """Against all pairs and images, in crowded and in skewed cells."""
        rng = np.random.default_rng(2)
        seen = [0, 0]
        for _ in range(60):
            nframes, natoms = 4, int(rng.integers(1, 40))
            cells = rng.uniform(0.4, 2.5) * (np.eye(3) + 0.15 * rng.normal(size=(nframes, 3, 3)))
            coord = rng.uniform(0, 1, (nframes, natoms, 3)) @ cells
            present = rng.uniform(size=(nframes, natoms)) < 0.9
            moved = coord + rng.integers(-3, 4, coord.shape) @ cells if periodic else coord
            frames, i, j, found = close_pairs(moved, cells if periodic else None, 0.1, present)
            pairs = {}
            for pair in zip(frames, i, j, found, strict=True):
                pairs.setdefault(pair[0], pair[1:])
            for frame in range(nframes):
                expected = distances(coord[frame], cells[frame] if periodic else None)
                expected[~present[frame]] = expected[:, ~present[frame]] = np.inf
                close = (expected < 0.1).any()
                seen[int(close)] += 1
                assert (frame in pairs) == close
                if close:
                    a, b, distance = pairs[frame]
                    assert distance == pytest.approx(expected[a, b], abs=1e-12)
        assert min(seen) > 30

    def test_in_linear_time(self) -> None:
        """All pairs would be 10^10."""
        coord = np.random.default_rng(1).uniform(0, 100, (1, 100_000, 3))
        present = np.ones((1, 100_000), dtype=bool)
        frames, i, j, distance = close_pairs(coord, 100 * np.eye(3)[None], 0.1, present)
        assert len(frames) >= 1
        assert distance[0] == pytest.approx(np.linalg.norm(coord[0, i[0]] - coord[0, j[0]]))
        everywhere = np.zeros((3, 5000, 3))
        frames, *_ = close_pairs(everywhere, None, 0.1, np.ones((3, 5000), dtype=bool))
        assert set(frames) == {0, 1, 2}

    def test_message(self, make) -> None:
        path = make(frames_per_set=2)
        coord = np.load(path / "set.001/coord.npy")
        coord[0, 9:12] = coord[0, 0:3] + [100 - 0.05, 0, 0]  # in the next cell
        np.save(path / "set.001/coord.npy", coord)
        (message,) = errors(path)
        assert message.startswith(f"{path}/set.001/coord.npy: frame 0 has atoms 0 and 3 ")
        assert "0.05 Å" in message and "0.1 Å" in message and "(1 such frame" in message

    def test_at_the_same_place(self, make) -> None:
        path = make(coord=np.zeros((4, 5, 3)), box=None)
        (message,) = errors(path)
        assert "frame 0 has atoms 0 and 1 " in message
        assert message.endswith("(4 such frames in the file)")

    def test_cell_that_is_no_thicker_than_an_atom(self, make) -> None:
        (message,) = errors(make(box=np.tile(np.diag([9.0, 9.0, 0.15]), (4, 1, 1))))
        assert "the cell of frame 0 " in message and "0.15 Å" in message


class TestRoundedEnergies:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_that_matter(self, make, dtype) -> None:
        """2^24 · 0.5 eV have a last digit of 1 eV in float32."""
        energy = (-8e6 + np.random.default_rng(0).normal(size=4)).astype(np.float32)
        path = make(energy=None)
        np.save(path / "set.000/energy.npy", energy.astype(dtype))
        (message,) = look(path)
        assert "energies of about 8e+06 eV have been rounded to float32, by up to 4.8e-01 eV" in (
            message
        )
        assert "= 9.5e-02 eV/atom" in message

    def test_that_do_not(self, make) -> None:
        random = np.random.default_rng(0).normal(size=4)
        for number, energy in enumerate((random.astype(np.float32), -8e6 + random)):
            path = make(str(number), energy=None)
            np.save(path / "set.000/energy.npy", energy)
            assert look(path) == []


class TestDuplicates:
    def test_some_frames(self, make) -> None:
        train, valid = make("train", nframes=6, frames_per_set=3), make("valid", offset=7.0)
        coord = np.load(valid / "set.000/coord.npy")
        coord[2:] = np.load(train / "set.001/coord.npy")[1:].astype(np.float32)
        np.save(valid / "set.000/coord.npy", coord)
        (message,) = look(train, validation=[valid])
        assert message.startswith(f"{valid}: 2 of 4 validation frames")
        assert f"(frame 2 is frame 1 of {train}/set.001/coord.npy" in message

    def test_the_same_system(self, make) -> None:
        path = make()
        (message,) = look(path, validation=[path])
        assert "all 4 validation frames are in the training data" in message

    @pytest.mark.parametrize(
        "change", [{"types": [0, 1, 1, 0, 0]}, {"box": np.tile(101 * np.eye(3), (4, 1, 1))}]
    )
    def test_other_atoms_or_cells_are_other_frames(self, make, change) -> None:
        assert look(make("train"), validation=[make("valid", **change)]) == []

    def test_twice_in_training_is_no_matter(self, make) -> None:
        path = make("train")
        assert look(path, path, validation=[make("valid", offset=3.0)]) == []


def test_left_handed_cells(make) -> None:
    box = np.tile(np.diag([100.0, 100, 100]), (4, 1, 1))
    box[1:3] = box[1:3, [1, 0, 2]]
    (message,) = look(make(box=box))
    assert "box.npy: the lattice vectors of frame 1 (counted from 0) form a left-handed" in message
    assert message.endswith("(2 such in the file)")


def crystal(coord: np.ndarray, cells: np.ndarray) -> dict[str, np.ndarray]:
    """E = Σ exp(−r²/2) eV of nearest images, by pairs; forces and virials by its derivative."""
    x = coord[:, None] - coord[:, :, None]
    x = x @ np.linalg.inv(cells)[:, None]
    x = (x - np.round(x)) @ cells[:, None]
    pair = np.exp(-0.5 * np.sum(x**2, axis=-1)) * (1 - np.eye(coord.shape[1]))
    return {
        "energy": 0.5 * pair.sum(axis=(1, 2)),
        "force": -np.einsum("fij,fijk->fik", pair, x),
        "virial": 0.5 * np.einsum("fij,fija,fijb->fab", pair, x, x),
    }


def trajectory(tmp_path, *, step=0.03, strain=0.0, nframes=60, shuffled=False, **factors):
    """A random walk of 12 atoms and their cell, labels multiplied by factors, 400 eV subtracted."""
    rng = np.random.default_rng(4)
    lattice = np.stack(np.meshgrid([0, 2.0], [0, 2.0, 4.0], [0, 2.0]), axis=-1).reshape(-1, 3)
    walk = np.cumsum(step * rng.normal(size=(nframes, 12, 3)), axis=0)
    deform = np.eye(3) + np.cumsum(strain * rng.normal(size=(nframes, 3, 3)), axis=0)
    if shuffled:
        order = rng.permutation(nframes)
        walk, deform = walk[order], deform[order]
    cells = (np.diag([4.5, 6.5, 4.5]) @ deform) if "free" not in factors else None
    coord = lattice + walk
    if cells is None:
        labels = crystal(coord, np.tile(1e3 * np.eye(3), (nframes, 1, 1)))
        del labels["virial"], factors["free"]
    else:
        labels = crystal(coord @ deform, cells)
        coord = coord @ deform
    labels["energy"] -= 400.0
    for name, factor in factors.items():
        labels[name] = labels[name] * factor
    types = [0] * 12
    return write_system(tmp_path / "walk", types=types, coord=coord, box=cells, **labels)


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("options", [{}, {"free": True}, {"strain": 0.003}, {"step": 0.01}])
class TestForces:
    def test_right(self, tmp_path, options, shuffled) -> None:
        assert look(trajectory(tmp_path, shuffled=shuffled, **options)) == []

    def test_gradients(self, tmp_path, options, shuffled) -> None:
        path = trajectory(tmp_path, shuffled=shuffled, force=-1.0, **options)
        (message,) = look(path)
        assert message.startswith(f"{path}/set.000/force.npy: energies change -")
        assert "these look like gradients (the sign is reversed)" in message
        assert "forces in" not in message

    @pytest.mark.parametrize(
        ("factors", "suspects"),
        [
            ({"force": 1 / 51.42}, "forces in Hartree/Bohr"),
            ({"force": 1 / 25.71}, "forces in Rydberg/Bohr"),
            ({"force": 23.06}, "forces in kcal/mol/Å"),
            ({"force": 0.5292}, "forces in eV/Bohr or energies in Hartree, forces in Hartree/Bohr"),
            ({"energy": 1 / 27.211}, "energies in Hartree"),
            ({"force": -1 / 51.42}, "gradients (the sign is reversed) and forces in Hartree/Bohr"),
            ({"force": 7.0}, None),
        ],
    )
    def test_units(self, tmp_path, options, shuffled, factors, suspects) -> None:
        message, *others = look(trajectory(tmp_path, shuffled=shuffled, **options, **factors))
        # an energy in other units does not fit virials either, if the cell changes
        assert not others or ("strain" in options and "energy" in factors)
        assert "force.npy: energies change" in message
        if suspects is None:
            assert "look like" not in message
        else:
            assert f"these look like {suspects}" in message


class TestVirials:
    def test_right(self, tmp_path) -> None:
        assert look(trajectory(tmp_path, step=0.003, strain=0.004)) == []

    @pytest.mark.parametrize(
        ("factor", "suspect"),
        [
            (-1.0, "virials with the sign reversed"),
            (1 / 131.6, "stress in eV/Å³ in place of the virial"),
            (GPA / 131.6, None),
            (10 * GPA / 131.6, "stress in kbar in place of the virial"),
        ],
    )
    def test_wrong(self, tmp_path, factor, suspect) -> None:
        messages = look(trajectory(tmp_path, virial=factor, step=0.003, strain=0.004))
        if suspect is None:  # 1 GPa · 132 Å³ is nearly 1 eV, so nobody can tell
            assert messages == []
            return
        (message,) = messages
        assert "virial.npy: energies change" in message and f"look like {suspect}" in message


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_not_doubted(tmp_path, seed) -> None:
    """Labels that have nothing to do with each other, near and far frames."""
    rng = np.random.default_rng(seed)
    nframes = int(rng.integers(2, 200))
    step = 10 ** rng.uniform(-3, 1)
    coord = 5 * np.arange(8)[:, None] + rng.normal(size=(nframes, 8, 3)) * step * 0.1
    path = write_system(
        tmp_path / "noise",
        types=[0] * 8,
        coord=coord,
        box=np.tile(40 * np.eye(3), (nframes, 1, 1)) + 0.01 * rng.normal(size=(nframes, 3, 3)),
        energy=rng.normal(size=nframes),
        force=rng.normal(size=(nframes, 8, 3)),
        virial=rng.normal(size=(nframes, 9)),
    )
    assert look(path) == []
