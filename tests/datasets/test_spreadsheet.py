from __future__ import annotations

import zipfile
from datetime import datetime
from pathlib import Path

import openpyxl
import pytest

from openau.datasets import spreadsheet
from openau.datasets.spreadsheet import read_sheet
from openau.errors import InputError


def write(path: Path, *rows: list[object]) -> Path:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)
    return path


def test_header_under_prose_and_names_in_other_spellings(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.xlsx",
        ["Subjects and apex frames"],
        [],
        [None, "subject", "Apex Frame "],
        [None, " x ", 12.0],
        [],
        [None, 7, 1.5],
    )
    rows = read_sheet(path, ["Subject", "ApexFrame"], ["Notes"])
    assert [(row.number, dict(row.cells)) for row in rows] == [
        (4, {"Subject": "x", "ApexFrame": "12", "Notes": ""}),
        (6, {"Subject": "7", "ApexFrame": "1.5", "Notes": ""}),
    ]
    assert rows[0].integer("ApexFrame") == 12
    assert rows[1].integer("ApexFrame") is None


def test_dates_become_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xlsx", ["A"], [datetime(2014, 5, 8)])
    assert read_sheet(path, ["A"])[0].cells["A"].startswith("2014-05-08")


def test_the_sheet_with_the_columns_is_found(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["about"])
    second = book.create_sheet("codes")
    second.append(["A", "B"])
    second.append([1, 2])
    book.save(tmp_path / "a.xlsx")
    assert read_sheet(tmp_path / "a.xlsx", ["A", "B"])[0].cells == {"A": "1", "B": "2"}


def test_missing_column_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xlsx", ["Subject", "Filename"], [1, "a"])
    with pytest.raises(InputError, match=r"a\.xlsx: has no column 'Action Units'; its columns are subject, filename"):
        read_sheet(path, ["Subject", "Action Units"])


def test_no_header_at_all(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xlsx", [1, 2], [3, 4])
    with pytest.raises(InputError, match="no column 'Subject' and no column 'Action Units'"):
        read_sheet(path, ["Subject", "Action Units"])


@pytest.mark.parametrize("content", [b"", b"Subject,Filename\n1,a\n", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)])
def test_not_an_xlsx_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.xlsx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.xlsx: is not a readable \.xlsx file"):
        read_sheet(path, ["Subject"])


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.xlsx: no such file"):
        read_sheet(tmp_path / "none.xlsx", ["Subject"])


def test_damaged_inside(tmp_path: Path) -> None:
    good = write(tmp_path / "good.xlsx", ["Subject"], [1])
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(tmp_path / "bad.xlsx", "w") as target:
        for member in source.infolist():
            data = source.read(member)
            target.writestr(member.filename, data[: len(data) // 2] if "sheet1" in member.filename else data)
    with pytest.raises(InputError, match=r"bad\.xlsx: is not a readable \.xlsx file"):
        read_sheet(tmp_path / "bad.xlsx", ["Subject"])


def test_a_zip_without_a_workbook(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(InputError, match=r"a\.xlsx: is not a readable \.xlsx file"):
        read_sheet(tmp_path / "a.xlsx", ["Subject"])


def test_a_file_that_unpacks_to_too_much_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spreadsheet, "MAX_UNPACKED_BYTES", 2**20)
    path = tmp_path / "bomb.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", bytes(spreadsheet.MAX_UNPACKED_BYTES + 1))
    with pytest.raises(InputError, match=r"bomb\.xlsx: unpacks to 1 MiB"):
        read_sheet(path, ["Subject"])


def test_a_file_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.xlsx", ["Subject"], [1])
    monkeypatch.setattr(spreadsheet, "MAX_FILE_BYTES", 1000)
    with pytest.raises(InputError, match=r"a\.xlsx: has"):
        read_sheet(path, ["Subject"])


def test_one_cell_far_out_costs_no_memory(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active["A1"], book.active["A2"], book.active["XFD1048576"] = "Subject", 1, "far"
    book.save(tmp_path / "a.xlsx")
    assert [row.cells["Subject"] for row in read_sheet(tmp_path / "a.xlsx", ["Subject"])] == ["1"]
