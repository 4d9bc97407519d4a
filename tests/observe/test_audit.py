"""The trail of what operators changed."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.observe.audit import MAX_LINES, Audit
from proxy.observe.events import Events, configure_logging, text_line


class Written:
    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def write(self, line: bytes) -> None:
        self.lines.append(line)

    def stop(self, timeout_s: float = 1.0) -> int:
        return 0


@pytest.fixture
def written() -> Iterator[Written]:
    root, weir = logging.getLogger(), logging.getLogger("weir")
    before = root.handlers[:], root.level, weir.level
    target = Written()
    configure_logging(target, as_json=True)
    yield target
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    weir.setLevel(before[2])
    logging.captureWarnings(False)


def note(audit: Audit, **members: Any) -> None:
    audit.note(
        1767225600.25,
        **{
            "who": "alice",
            "what": "ban",
            "target": "per-ip 203.0.113.7",
            "old": None,
            "new": {"kind": "ban", "reason": "scraper"},
            "reason": "scraper",
            "until_wall": 1767229200.0,
        }
        | members,
    )


def test_a_change_is_one_line_of_json(written: Written) -> None:
    note(Audit(Events()))
    (line,) = written.lines
    assert line.endswith(b"}\n")
    document = json.loads(line)
    assert document.pop("ts").endswith("Z")
    assert document == {
        "level": "info",
        "event": "operator_change",
        "message": "ban by alice",
        "who": "alice",
        "what": "ban",
        "target": "per-ip 203.0.113.7",
        "old": None,
        "new": {"kind": "ban", "reason": "scraper"},
        "reason": "scraper",
        "until": "2026-01-01T01:00:00.000Z",
    }


def test_no_line_is_held_back(written: Written) -> None:
    audit = Audit(Events())
    for number in range(100):
        note(audit, target=f"per-ip {number}")
    assert [json.loads(line)["target"] for line in written.lines] == [f"per-ip {number}" for number in range(100)]


def test_what_was_written_cannot_forge_another_line(written: Written) -> None:
    audit = Audit(Events())
    note(audit, target="per-ip a\nb", reason='x\n{"event": "operator_change"}', new={"reason": "x\r\ny\x1b[2J"})
    (line,) = written.lines
    assert line.count(b"\n") == 1
    assert b"\x1b" not in line
    (kept,) = audit.lines()
    assert kept["target"] == "per-ip a\\x0ab"


def test_memory_keeps_the_last_ones_the_newest_first(written: Written) -> None:
    audit = Audit(Events())
    for number in range(MAX_LINES + 5):
        note(audit, target=str(number))
    lines = audit.lines()
    assert len(lines) == MAX_LINES
    assert lines[0]["target"] == str(MAX_LINES + 4)
    assert lines[-1]["target"] == "5"
    assert [line["target"] for line in audit.lines(2)] == [str(MAX_LINES + 4), str(MAX_LINES + 3)]
    assert lines[0]["at"] == "2026-01-01T00:00:00.250Z"


def test_on_a_terminal_it_is_one_line_too(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "weir.events"):
        note(Audit(Events()))
    (record,) = caplog.records
    text = text_line(record).decode()
    assert "operator_change: ban by alice who=alice what=ban target=per-ip 203.0.113.7 old=None" in text
    assert text.count("\n") == 1
