from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.core.errors import ErrorKind, ProxyError
from proxy.observe.events import Event, Events, LineHandler, configure_logging
from proxy.observe.hold_back import BURST, MAX_KINDS, HoldBack
from proxy.observe.malformed import MAX_LINES, MalformedRequests
from proxy.observe.observe import Observe


class Written:
    """Takes lines like a LineWriter."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def write(self, line: bytes) -> None:
        self.lines.append(line)

    def stop(self, timeout_s: float = 1.0) -> int:
        return 0

    @property
    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


@pytest.fixture
def written() -> Iterator[Written]:
    """What goes to standard error, as JSON; logging is put back afterwards."""
    root, weir = logging.getLogger(), logging.getLogger("weir")
    before = root.handlers[:], root.level, weir.level
    target = Written()
    configure_logging(target, as_json=True)
    yield target
    root.handlers[:], level, weir_level = before[0], before[1], before[2]
    root.setLevel(level)
    weir.setLevel(weir_level)
    logging.captureWarnings(False)


def test_an_event_is_one_line_with_its_details(written: Written) -> None:
    Events().say(Event.EXCHANGE_FAILED, "It failed.", endpoint="127.0.0.1:3000", failures=3)
    (document,) = written.documents
    assert document.pop("ts").endswith("Z")
    assert document == {
        "level": "warning",
        "event": "exchange_failed",
        "message": "It failed.",
        "endpoint": "127.0.0.1:3000",
        "failures": 3,
    }


def test_text_is_for_a_terminal(written: Written) -> None:
    configure_logging(written, as_json=False)
    Events().say(Event.STORE_LOST, "The store is away.", address="store:6379")
    (line,) = written.lines
    assert line[8:] == b" warning store_lost: The store is away. address=store:6379\n"


def test_other_loggers_come_out_in_the_same_form(written: Written) -> None:
    logging.getLogger("weir.tasks").error("task %s failed", "probe")
    logging.getLogger("asyncio").warning("slow")
    logging.getLogger("asyncio").info("not shown")
    assert [(line["logger"], line["message"]) for line in written.documents] == [
        ("weir.tasks", "task probe failed"),
        ("asyncio", "slow"),
    ]


@pytest.mark.parametrize("as_json", [True, False], ids=["json", "text"])
def test_no_credentials_of_a_url_are_ever_printed(written: Written, as_json: bool) -> None:
    configure_logging(written, as_json=as_json)
    Events().say(Event.STORE_LOST, "No answer from redis://u:CANARY@store.", url="redis://:CANARY@store:6379/0")
    try:
        raise ConnectionError("redis://u:CANARY@store refused")
    except ConnectionError:
        logging.getLogger("weir.store").exception("lost")
    assert b"CANARY" not in b"".join(written.lines)
    assert b"***@store" in written.lines[0]


@pytest.mark.parametrize("as_json", [True, False], ids=["json", "text"])
def test_odd_characters_cannot_make_a_second_line(written: Written, as_json: bool) -> None:
    configure_logging(written, as_json=as_json)
    odd = "a\nb\x1b[31m\udcff" + "x" * 5000
    Events().say(Event.REQUEST_MALFORMED, odd, source=odd)
    (line,) = written.lines
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert b"\x1b" not in line
    assert len(line) < 4096


def test_one_kind_is_limited_and_another_is_not_held_up(written: Written) -> None:
    now = 0.0
    events = Events(clock=lambda: now)
    for _ in range(1000):
        events.say(Event.EXCHANGE_FAILED, "Down.")
    events.say(Event.STORE_LOST, "Lost.")
    assert len(written.lines) == BURST + 1
    assert events.counts["exchange_failed"] == 1000
    now = 1.5
    events.say(Event.EXCHANGE_FAILED, "Down.")
    assert written.documents[-1]["held_back"] == 1000 - BURST
    now = 100.0
    events.say(Event.EXCHANGE_FAILED, "Down.")
    assert "held_back" not in written.documents[-1]


def test_one_message_of_a_library_is_limited_too(written: Written) -> None:
    now = 0.0
    handler = LineHandler(written, as_json=True, clock=lambda: now)
    logging.getLogger().handlers[:] = [handler]
    for number in range(500):
        logging.getLogger("asyncio").warning("task %d failed", number)
    logging.getLogger("asyncio").warning("another message")
    assert len(written.lines) == BURST + 1
    now = 5.0
    logging.getLogger("asyncio").warning("task %d failed", 500)
    assert written.documents[-1]["held_back"] == 500 - BURST


def test_the_memory_of_what_was_said_is_bounded() -> None:
    hold_back = HoldBack()
    for number in range(10 * MAX_KINDS):
        assert hold_back.ask(f"kind {number}", 0.0) == 0
        assert len(hold_back._due) <= MAX_KINDS


def test_a_malformed_request_has_one_line_a_second_and_source(written: Written) -> None:
    events = Events(clock=lambda: 0.0)
    malformed = MalformedRequests(events)
    for number in range(500):
        malformed.note(ErrorKind.REQUEST_MALFORMED, "192.0.2.1", "bad header", 10.0 + number / 1000)
    assert len(written.lines) == 1
    assert written.documents[0]["source"] == "192.0.2.1"
    assert written.documents[0]["reason"] == "request_malformed"
    malformed.note(ErrorKind.FIELDS_TOO_LARGE, "192.0.2.1", "too many", 11.0)
    assert written.documents[1]["detail"] == "too many (and 499 more before)"
    assert malformed.counts == {"request_malformed": 500, "fields_too_large": 1}


def test_many_sources_of_malformed_requests_cannot_flood_the_log(written: Written) -> None:
    malformed = MalformedRequests(Events(clock=lambda: 0.0))
    for second in range(5):
        for source in range(2000):
            malformed.note(ErrorKind.REQUEST_MALFORMED, f"192.0.2.{source}", "bad", second + source / 2000)
    assert len(written.lines) == 5 * MAX_LINES
    assert malformed.counts == {"request_malformed": 10_000}


def test_a_defect_is_logged_with_its_traceback_and_answered_as_internal(
    written: Written, observe: Observe, make_exchange: Any
) -> None:
    exchange = make_exchange()
    try:
        raise KeyError("surprise")
    except KeyError as bug:
        error = observe.crashed(exchange, bug)
    assert error.kind is exchange.error is ErrorKind.INTERNAL
    (document,) = written.documents
    assert document["event"] == "exchange_crashed"
    assert document["request_id"] == exchange.id.decode()
    assert "KeyError: 'surprise'" in document["traceback"]


def test_only_failures_of_our_side_are_events(written: Written, observe: Observe, make_exchange: Any) -> None:
    observe.failed(make_exchange(), ProxyError(ErrorKind.REQUEST_TIMEOUT, "slow client"))
    observe.failed(make_exchange(), ProxyError(ErrorKind.NO_ROUTE))
    assert written.lines == []
    observe.failed(make_exchange(), ProxyError(ErrorKind.CONNECT_REFUSED, "127.0.0.1:3000"))
    (document,) = written.documents
    assert (document["event"], document["reason"], document["detail"], document["route"]) == (
        "exchange_failed",
        "connect_refused",
        "127.0.0.1:3000",
        "search",
    )


def test_a_record_that_cannot_be_formatted_harms_nobody(
    written: Written, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hostile:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    monkeypatch.setattr(logging, "raiseExceptions", False)
    logging.getLogger("weir.x").warning("%s", Hostile())
    Events().say(Event.LISTENING, "Fine.")
    assert [line["message"] for line in written.documents] == ["Fine."]


SCRIPT = """
from proxy.observe.events import Event, Events, configure_logging
from proxy.observe.line_writer import LineWriter
writer = LineWriter("!", period_s=60.0)
writer.start()
configure_logging(writer)
Events().say(Event.RELOAD_REFUSED, "The last words.")
{end}
"""


@pytest.mark.parametrize("end", ["", "raise SystemExit(1)", "raise RuntimeError"], ids=["end", "exit", "defect"])
def test_the_last_event_is_on_standard_error_when_the_process_ends(end: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(end=end)], capture_output=True, cwd=Path(__file__).parents[2], timeout=30
    )
    documents = [json.loads(line) for line in done.stderr.splitlines() if line.startswith(b"{")]
    assert [document["message"] for document in documents] == ["The last words."]
