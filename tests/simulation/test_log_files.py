"""Logs on the disk: plain, gzipped, broken, several at once, and from standard input."""

from __future__ import annotations

import gzip
import io
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.simulation.log_files import MAX_LINE, Logs


def line(second: int, address: str = "192.0.2.1") -> str:
    return f'{address} - - [10/Apr/2026:00:00:{second:02d} +0000] "GET /{second} HTTP/1.1" 200 5 "-" "-"\n'


def read(*names: Path | str, how: Any = "auto") -> tuple[list[str], Logs]:
    with Logs([str(name) for name in names], how, lambda size, lines: None) as logs:
        return [entry.target.decode() for entry in logs.entries()], logs


def test_a_plain_file_is_read_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(line(1) + "\n" + line(2).replace("\n", "\r\n") + line(3).rstrip("\n"))
    targets, logs = read(tmp_path / "a.log")
    assert targets == ["/1", "/2", "/3"]
    assert (logs.stats.lines, logs.stats.rubbish) == (3, 0)
    assert logs.stats.formats == {str(tmp_path / "a.log"): "combined"}


def test_a_gzipped_file_is_known_by_how_it_begins(tmp_path: Path) -> None:
    (tmp_path / "access.log.2").write_bytes(gzip.compress((line(1) + line(2)).encode()))
    assert read(tmp_path / "access.log.2")[0] == ["/1", "/2"]


def test_a_truncated_gzip_gives_what_could_be_read(tmp_path: Path) -> None:
    whole = gzip.compress("".join(line(second % 60, f"192.0.2.{second % 250}") for second in range(5000)).encode())
    (tmp_path / "cut.gz").write_bytes(whole[: len(whole) // 2])
    targets, logs = read(tmp_path / "cut.gz")
    assert 100 < len(targets) < 5000
    assert logs.stats.samples[-1][1].startswith("reading stopped")


def test_several_files_are_merged_by_time(tmp_path: Path) -> None:
    (tmp_path / "new.log").write_text(line(30) + line(40))
    (tmp_path / "old.gz").write_bytes(gzip.compress((line(1) + line(2)).encode()))
    (tmp_path / "other.log").write_text(line(35) + line(36))
    targets, _ = read(tmp_path / "new.log", tmp_path / "old.gz", tmp_path / "other.log")
    assert targets == ["/1", "/2", "/30", "/35", "/36", "/40"]


def test_rubbish_is_counted_and_shown_and_stops_nothing(tmp_path: Path) -> None:
    rubbish = "\x1b[2Jevil <script>\n" * 7
    (tmp_path / "a.log").write_text(line(1) + rubbish + line(2))
    targets, logs = read(tmp_path / "a.log")
    assert targets == ["/1", "/2"]
    assert (logs.stats.lines, logs.stats.rubbish, len(logs.stats.samples)) == (9, 7, 5)
    where, why, text = logs.stats.samples[0]
    assert where == f"{tmp_path / 'a.log'}:2"
    assert why == "not in the combined log format"
    assert text == "\N{REPLACEMENT CHARACTER}[2Jevil <script>"


def test_an_endless_line_is_one_rubbish_line_and_fills_no_memory(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(line(1) + "x" * (5 * MAX_LINE) + "\n" + line(2))
    targets, logs = read(tmp_path / "a.log")
    assert targets == ["/1", "/2"]
    assert (logs.stats.rubbish, logs.stats.samples[0][1]) == (1, "longer than 64 KiB")


def test_standard_input_may_be_gzipped_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for content in ((line(1) + line(2)).encode(), gzip.compress((line(1) + line(2)).encode())):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(content))))
        targets, logs = read("-")
        assert targets == ["/1", "/2"]
        assert logs.size_bytes is None


def test_an_empty_file_has_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"")
    targets, logs = read(tmp_path / "a.log")
    assert (targets, logs.stats.lines) == ([], 0)


def test_a_file_that_is_not_there_is_an_error_when_it_is_opened(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nowhere.log")


def test_progress_is_told_in_bytes_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(line(1) * 10_000)
    told: list[tuple[int, int]] = []
    with Logs([str(tmp_path / "a.log")], "auto", lambda size, lines: told.append((size, lines))) as logs:
        assert logs.size_bytes == (tmp_path / "a.log").stat().st_size
        assert sum(1 for _ in logs.entries()) == 10_000
    assert [lines for _, lines in told] == [4096, 8192]
    assert 0 < told[0][0] <= told[1][0] <= (tmp_path / "a.log").stat().st_size
