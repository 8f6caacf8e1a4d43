# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

from pathlib import Path

import pytest

from deepmd_tf.data import expand_systems
from deepmd_tf.errors import DataError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b/one", "b/two", "b", "a/deep/down/three", "empty"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    for name in ("b/one", "b/two", "b", "a/deep/down/three"):
        (tmp_path / name / "type.raw").touch()
    return tmp_path


def below(tree: Path, *names: str) -> list[str]:
    return [str(tree / name) for name in names]


def test_one_directory_stands_for_all_in_and_below_it(tree: Path) -> None:
    assert expand_systems(str(tree)) == below(tree, "a/deep/down/three", "b", "b/one", "b/two")
    assert expand_systems(str(tree / "b")) == below(tree, "b", "b/one", "b/two")


def test_list_keeps_its_order_and_repetitions(tree: Path) -> None:
    entries = below(tree, "b/two", "a", "b/two")
    assert expand_systems(entries) == below(tree, "b/two", "a/deep/down/three", "b/two")


def test_patterns(tree: Path) -> None:
    found = expand_systems(str(tree), rglob_patterns=["t*", "b/*"])
    assert found == below(tree, "a/deep/down/three", "b/one", "b/two")


def test_relative_to_a_base(tree: Path, monkeypatch) -> None:
    assert expand_systems("b/one", base=tree) == below(tree, "b/one")
    monkeypatch.chdir(tree)
    assert expand_systems(["b/one"]) == ["b/one"]


@pytest.mark.parametrize("name", ["water.lmdb", "water"])
def test_lmdb(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "data.mdb").touch()
    with pytest.raises(DataError, match=r"is an LMDB data set, which only other backends"):
        expand_systems(str(tmp_path / name))


def test_links_are_followed_once(tree: Path) -> None:
    (tree / "links").mkdir()
    (tree / "links/system").symlink_to(tree / "b/one")
    (tree / "links/loop").symlink_to(tree)
    assert expand_systems(str(tree / "links")) == below(tree, "links/system")


@pytest.mark.parametrize(
    ("entries", "patterns", "message"),
    [
        ([], None, "the list is empty"),
        (["missing"], None, "missing is not a directory that exists"),
        (["b", "empty"], None, r"no system in .*empty: .* has a type\.raw"),
        (["b"], ["x*"], r"no system in .*b: .* that matches \['x\*'\]"),
        (["b"], ["/x"], "rglob_patterns: '/x' is not a pattern"),
        (["data.hdf5#/group"], None, "No such file or directory.; expected an HDF5 file"),
    ],
)
def test_nothing_there(tree: Path, entries, patterns, message) -> None:
    with pytest.raises(DataError, match=message):
        expand_systems(entries, patterns, base=tree)
