"""`tintype usage`: tables, JSON and CSV of what keys have used."""

from __future__ import annotations

import csv
import json
from contextlib import closing
from datetime import UTC, datetime
from io import StringIO
from typing import TYPE_CHECKING

import pytest

from tintype.cli import main
from tintype.gateway.database import connect, transact
from tintype.gateway.usage.records import FILE, MIGRATIONS, Counts, UsageKey, add_counts

if TYPE_CHECKING:
    from pathlib import Path

TODAY = datetime.now(UTC).date().isoformat()
WORK = Counts(requests=1, images=2, pixels=2_500_000, steps=40, device_microseconds=1_540_000)


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with the usage of two keys, one of it old."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "tintype"
    keys = (UsageKey(TODAY, "alice", "sdxl"), UsageKey(TODAY, "", "sdxl"), UsageKey("2020-01-31", "alice", "sdxl"))
    with closing(connect(folder / FILE, MIGRATIONS)) as connection:
        transact(connection, lambda one: add_counts(one, dict.fromkeys(keys, WORK)))
    return folder


def test_the_table_has_a_total(capsys: pytest.CaptureFixture[str]) -> None:
    """The table has the last days of every key, and the sums."""
    assert main(["usage"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows == [
        ["DAY", "KEY", "MODEL", "REQUESTS", "IMAGES", "MEGAPIXELS", "STEPS", "DEVICE", "SECONDS"],
        [TODAY, "-", "sdxl", "1", "2", "2.50", "40", "1.5"],
        [TODAY, "alice", "sdxl", "1", "2", "2.50", "40", "1.5"],
        ["total", "-", "2", "4", "5.00", "80", "3.1"],
    ]


def test_key_and_first_day_select(capsys: pytest.CaptureFixture[str]) -> None:
    """`--key` and `--since` select the rows, here as JSON."""
    assert main(["usage", "--key", "alice", "--since", "2020-01-01", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["object"] == "list"
    assert [(each["day"], each["key"]) for each in found["data"]] == [("2020-01-31", "alice"), (TODAY, "alice")]


def test_csv_has_a_heading(capsys: pytest.CaptureFixture[str]) -> None:
    """CSV has the names of JSON as its heading, and numbers without units."""
    assert main(["usage", "--csv"]) == 0
    rows = list(csv.DictReader(StringIO(capsys.readouterr().out)))
    assert [row["key"] for row in rows] == ["", "alice"]
    assert (rows[1]["megapixels"], rows[1]["device_seconds"]) == ("2.5", "1.54")


def test_nothing_is_not_an_error(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    """Without usage, the message names the day and the file; no file is created."""
    assert main(["usage", "--key", "carol"]) == 0
    assert "There is no usage since" in capsys.readouterr().err
    assert main(["usage", "--data", str(data / "other")]) == 0
    assert str(data / "other" / FILE) in capsys.readouterr().err
    assert not (data / "other").exists()


def test_a_day_that_is_none_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong day is refused in one line."""
    assert main(["usage", "--since", "last week"]) == 2
    assert capsys.readouterr().err == "tintype: --since must be a day such as 2026-01-31; got 'last week'\n"


def test_a_broken_file_is_one_line(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    """A file that is no database is named in one line."""
    (data / FILE).write_bytes(b"no database" * 1000)
    assert main(["usage"]) == 2
    assert capsys.readouterr().err.startswith(f"tintype: cannot use the database {data / FILE}: ")
