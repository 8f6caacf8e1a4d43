# SPDX-License-Identifier: BSD-3-Clause
"""Files with tables of pair potentials: reading, continuing, splines, and the ZBL repulsion."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from deepmd_tf.cli.main import main
from deepmd_tf.errors import InputError
from deepmd_tf.pair_table import PairTable, read_pair_table
from deepmd_tf.pair_table.reading import line_of
from deepmd_tf.pair_table.zbl import COULOMB, repulsion, zbl_table

GOOD = "# a table\n# types: O H\n0.1 3 2 1\n\n0.2 2 1.5 .5 # here\n0.3 0 0 0\n"


def read(tmp_path, text, type_map=("O", "H"), ntypes=2):
    path = tmp_path / "t.tab"
    path.write_text(text, encoding="utf-8")
    return read_pair_table(path, type_map, ntypes)


def test_reading(tmp_path):
    table = read(tmp_path, GOOD)
    np.testing.assert_array_equal(table.distances, [0.1, 0.2, 0.3])
    np.testing.assert_array_equal(table.energies[1], [2, 1.5, 0.5])
    assert table.ntypes == 2 and list(table.pairs()) == [(0, 0), (0, 1), (1, 1)]
    assert table.describe(["O", "H"]) == (
        "0.1 to 0.3 Å in steps of 0.1 Å, columns O-O, O-H, H-H in this order"
    )
    assert line_of(tmp_path / "t.tab", 1) == 5
    assert read(tmp_path, GOOD, ()).ntypes == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has 0 rows of numbers"),
        ("0.1 1 1 1\n", "has 1 rows of numbers"),
        ("0.1 1 1 x\n", 'line 1, column 4: "x" is not a number'),
        ("0.1 1 1 1\n0.2 1 inf 1\n", "line 2, column 3: inf is not finite"),
        ("0.1 1 1 1\n0.2 1 1\n", "line 2: has 3 columns, but line 1 has 4"),
        ("0.1 1\n0.2 1\n", "has 2 columns; expected 4 for 2 types: .* O-O, O-H, H-H"),
        ("-0.1 1 1 1\n0.1 1 1 1\n", "line 1: the distance -0.1 Å is negative"),
        ("0.2 1 1 1\n0.1 1 1 1\n", "line 2: the distance 0.1 Å does not follow 0.2 Å"),
        ("0.1 1 1 1\n0.1 1 1 1\n", "does not follow"),
        ("0.1 1 1 1\n0.2 1 1 1\n0.4 1 1 1\n", "line 3: the distance is 0.4 Å; expected 0.3 Å"),
        ("# types: H O\n0.1 1 1 1\n0.2 1 1 1\n", "types H O in this order, but .* is O H"),
    ],
)
def test_files_that_are_no_tables(tmp_path, text, said):
    with pytest.raises(InputError, match=said) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "t.tab"))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"no such file; model\.use_srtab is the name"):
        read_pair_table(tmp_path / "none", ["O"], 1)


def table_of(values, begin=0.5, step=0.1):
    values = np.array(values, float).reshape(len(values), -1)
    return PairTable(begin + step * np.arange(len(values)), values)


def test_zeros_go_on_as_zeros():
    table, warning = table_of([3, 1, 0], step=0.25).continued(1.75)
    assert not warning
    np.testing.assert_allclose(table.distances, [0.5, 0.75, 1.0, 1.25, 1.5, 1.75])
    np.testing.assert_array_equal(table.energies[:, 0], [3, 1, 0, 0, 0, 0])


def test_a_cubic_to_zero():
    """Slope per row in the place of that per Å, as in DeePMD-kit."""
    table, warning = table_of([3, 2, 1.5]).continued(1.25)
    assert "ends at 0.7 Å, before rcut (1.25 Å)" in warning
    # rows up to 1.3 are needed, of which the last but one is the end
    assert table.end == pytest.approx(1.2)
    expected = CubicSpline([0.7, 1.2], [1.5, 0], bc_type=((1, -0.5), (1, 0.0)))
    np.testing.assert_allclose(table.energies[2:, 0], expected(table.distances[2:]), atol=1e-15)
    near, _ = table_of([3, 2, 1.5]).continued(0.78)  # less than two steps
    np.testing.assert_allclose(near.distances, [0.5, 0.6, 0.7, 0.8])
    assert near.energies[-1, 0] == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize(("values", "jump"), [([3, 2, 1.5], True), ([3, 0, 0], False)])
def test_a_table_beyond_the_cutoff_stays_as_it_is(values, jump):
    table, warning = table_of(values).continued(0.65)
    assert len(table.distances) == 3
    assert ("is not zero at rcut (0.65 Å), up to" in warning) == jump


@pytest.mark.parametrize("values", [[3, 2, 0], [3, 2, 0, 0], [3, 2, 1]])
@pytest.mark.parametrize("off", [0.0, 1e-15])
def test_a_row_at_the_cutoff_says_whether_energies_jump(values, off):
    """Distances of a file may have rounding of their own."""
    table, warning = table_of(values, begin=0.5 + off).continued(0.7)
    assert len(table.distances) == len(values)
    assert ("is not zero at rcut" in warning) == (values[2] != 0)


def test_splines_have_zero_slope_at_the_ends(rng):
    table = table_of(rng.normal(size=(9, 3)))
    info, data = table.coefficients()
    np.testing.assert_allclose(info, [0.5, 0.1, 8, 2])
    data = data.reshape(2, 2, 8, 4)
    np.testing.assert_array_equal(data[0, 1], data[1, 0])
    for (i, j), values in zip(table.pairs(), table.energies.T, strict=True):
        spline = CubicSpline(table.distances, values, bc_type="clamped")
        for u in (0.0, 0.3, 0.9):
            found = [np.polyval(data[i, j, k], u) for k in range(8)]
            np.testing.assert_allclose(found, spline(table.distances[:-1] + 0.1 * u), atol=1e-13)
        assert data[i, j, 0, 2] == 0


def test_an_uneven_energy_is_found():
    r = np.arange(1, 60) * 0.05
    smooth = np.stack([np.exp(-r), 14 / r * np.exp(-3 * r), 0 * r], axis=1)
    assert PairTable(r, smooth).uneven() is None
    smooth[20, 1] *= -1
    assert PairTable(r, smooth).uneven() == (20, 1)
    assert zbl_table(["O", "H"], rmin=0.01, rmax=4.0, step=0.01, rswitch=2.0).uneven() is None


def test_zbl_is_the_formula():
    """Bare nuclei where they are close; the screening function as published."""
    assert repulsion(8, 1, np.array([1e-6]))[0] * 1e-6 == pytest.approx(8 * COULOMB, rel=1e-4)
    r = np.array([0.3, 1.0, 2.5])
    a = 0.8854 * 0.529177 / (8**0.23 + 14**0.23)
    x = r / a
    phi = (
        0.18175 * np.exp(-3.1998 * x)
        + 0.50986 * np.exp(-0.94229 * x)
        + 0.28022 * np.exp(-0.4029 * x)
        + 0.02817 * np.exp(-0.20162 * x)
    )
    np.testing.assert_allclose(repulsion(8, 14, r), 14.399645 * 8 * 14 / r * phi, rtol=1e-3)


def test_zbl_table_on_the_command_line(tmp_path, capsys):
    path = tmp_path / "zbl.tab"
    assert main(["--tf", "zbl-table", "H", "O", "-o", str(path), "--rmax", "3"]) == 0
    table = read_pair_table(path, ["H", "O"], 2)
    assert table.begin == 0.005 and table.end == 3.0 and len(table.distances) == 600
    np.testing.assert_allclose(
        table.energies[:300, 1], repulsion(1, 8, table.distances[:300]), rtol=1e-14
    )
    assert not table.energies[-1].any() and (np.diff(table.energies, axis=0) < 0).all()
    spline = CubicSpline(table.distances, table.energies, bc_type="clamped")
    r = np.linspace(0.3, 1.4, 77)
    np.testing.assert_allclose(spline(r)[:, 2], repulsion(8, 8, r), rtol=1e-7)
    np.testing.assert_allclose(spline(3.0, 2), 0, atol=1e-2)
    with pytest.raises(InputError, match="H O in this order"):
        read_pair_table(path, ["O", "H"], 2)
    for arguments, said in (
        (["Xx"], "Xx: no element"),
        (["H", "--rmin", "0"], "expected 0 < rmin < rmax"),
        (["H", "--rmin", "nan"], "expected 0 < rmin < rmax"),
        (["H", "--rmax", "3.002"], "a whole number of them"),
        (["H", "--step", "1e-9"], "give a larger step"),
        (["H", "--step", "1e-320"], "inf rows; give a larger step"),
        (["H", "-o", str(tmp_path / "no" / "t")], "there is no directory"),
    ):
        assert main(["--tf", "zbl-table", *arguments]) == 1
        assert said in capsys.readouterr().err
