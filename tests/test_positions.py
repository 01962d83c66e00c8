"""Positions from text files and tables."""

from fractions import Fraction
from pathlib import Path

import pytest

from zinterp.errors import BadOptionError, InputError
from zinterp.positions import Positions, in_micrometres, read_positions, spacing

NM = Fraction(1, 1000)
Z = tuple(Fraction(text) for text in ("0", "20.5", "41"))


@pytest.mark.parametrize(
    ("text", "column", "unit"),
    [
        ("0\n20.5\n41\n", "", ""),
        ("0\n\n20.5\n41", "", ""),
        ("# measured by fiducials\n0\n20.5\n41\n", "", ""),
        ("z_nm\n0\n20.5\n41\n", "", "nm"),
        ("\ufeffz [µm]\r\n0\r\n20.5\r\n41\r\n", "", "µm"),
        ("0 nm\n20.5 nm\n41 nm\n", "", "nm"),
        ("slice,z,dose\n1,0,5\n2,20.5,5\n3,41,5\n", "", ""),
        ("slice;z (um);dose\n1;0;5\n2;20,5;5\n3;41,0;5\n", "", "um"),
        ("slice\tposition_nm\n1\t0\n2\t20.5\n3\t41\n", "", "nm"),
        ("a,b\n9,0\n9,20.5\n9,41\n", ":b", ""),
        ("thickness,z_start_nm,z_end_nm\n1,0,9\n1,20.5,9\n1,41,9\n", ":z_start_nm", "nm"),
    ],
)
def test_numbers_and_units_are_found(text: str, column: str, unit: str, tmp_path: Path) -> None:
    (tmp_path / "z.csv").write_text(text, encoding="utf-8")
    assert read_positions(f"{tmp_path / 'z.csv'}{column}") == Positions(Z, unit)


@pytest.mark.parametrize(
    ("text", "column", "match"),
    [
        ("", "", "holds no numbers"),
        ("0\nx\n", "", "has 'x' for plane 1, expected a number"),
        ("z_nm\n1\n2 um\n", "", "has '2 um' for plane 1"),
        ("a,b\n1,2\n", "", "has 2 columns .a, b., expected one: name it as"),
        ("z1,z2\n1,2\n", "", "has 2 columns"),
        ("1,2\n3,4\n", "", "has 2 columns .without names."),
        ("a,b\n1,2\n", ":c", "has the columns a, b, expected one called c"),
        ("z,b\n1,2\n,3\n", "", "for plane 1, expected a number"),
        ("1 parsec\n", "", "holds no numbers"),
        ("z_nm\n0,0\n18,25\n", "", "write decimals with a point"),
        ("slice,z_nm\n1,18,25\n", "", "has 3 columns in .1,18,25. and 2 before"),
        ("0\n1,4\n2,1\n", "", "write decimals with a point, or separate columns with semicolons"),
        ("z\n" + "9" * 200000, "", "is no table"),
    ],
)
def test_what_is_no_list_of_positions_is_refused(text: str, column: str, match: str, tmp_path: Path) -> None:
    (tmp_path / "z.csv").write_text(text, encoding="utf-8")
    with pytest.raises(BadOptionError, match=match):
        read_positions(f"{tmp_path / 'z.csv'}{column}")


def test_files_that_cannot_be_read_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"cannot read the positions .*: check the path"):
        read_positions(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(BadOptionError, match="is no text"):
        read_positions(tmp_path / "b.csv")
    monkeypatch.setattr("zinterp.positions.LARGEST_FILE", 3)
    with pytest.raises(BadOptionError, match="has more than 3 bytes, expected one number a line"):
        read_positions(tmp_path / "b.csv")


def test_without_a_unit_the_plane_distance_decides() -> None:
    assert in_micrometres(Positions(Z, "nm"), None) == Positions(tuple(z / 1000 for z in Z), "nm")
    assert in_micrometres(Positions(Z), 0.02) == Positions(tuple(z / 1000 for z in Z), "nm")
    assert in_micrometres(Positions(Z), 25.0) == Positions(Z, "um")
    assert in_micrometres(Positions(Z), None) is None
    with pytest.raises(BadOptionError, match=r"mean distance of 20.5 without a unit, and the file's is 1 µm"):
        in_micrometres(Positions(Z), 1.0)


def test_rounded_positions_are_evenly_spaced() -> None:
    positions = [Fraction(f"{z / 300:.4f}") for z in range(1000)]  # 3.333 nm to 0.1 nm
    distance, places = spacing(positions, rounded=True)
    assert places is None
    assert spacing(positions)[1] is not None
    assert float(distance) == pytest.approx(1 / 300, rel=1e-4)


def test_positions_with_planes_that_lack_are_whole_numbers_of_plane_distances() -> None:
    positions = [5 * NM * k for k in (3, 4, 5, 8, 9)]
    assert spacing(positions) == (5 * NM, (0, 1, 2, 5, 6))


@pytest.mark.parametrize("unit", [NM, 100 * NM])  # 4 nm noted to 1 nm are too rough to tell rounding from differences
def test_uneven_positions_are_kept_exactly(unit: Fraction) -> None:
    positions = [z * unit for z in (0, 4, 10, 14)]
    distance, places = spacing(positions)
    assert distance == Fraction(14, 3) * unit
    assert places == (0, Fraction(6, 7), Fraction(15, 7), 3)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_tables_of_spreadsheets_are_read(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "z.csv").write_bytes("z [µm]\n0\n20.5\n41\n".encode(encoding))
    assert read_positions(tmp_path / "z.csv") == Positions(Z, "µm")
