from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from time import sleep
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.clients.client import Client
from proxy.core.errors import ErrorKind
from proxy.core.ids import RequestIds
from proxy.core.settings import FromText
from proxy.core.units import Rate
from proxy.limits.policy import compile_limit
from proxy.limits.settings import LimitSettings
from proxy.limits.verdict import LOCAL, Verdict
from proxy.observe.line import AccessLine, render
from proxy.observe.observe import Observe
from proxy.observe.settings import AccessLogSettings
from proxy.observe.stage import record


class Log:
    """An access log in a file; `lines` stops it and gives what was written."""

    def __init__(self, path: Path, observe: Observe, **options: Any) -> None:
        self.path = path
        self.observe = observe
        observe.access_log.apply(AccessLogSettings(path=str(path), **options))

    def lines(self) -> list[dict[str, Any]]:
        self.observe.access_log.stop()
        return [json.loads(line) for line in self.path.read_bytes().splitlines()]


@pytest.mark.parametrize(
    ("written", "duration_s", "is_logged"),
    [
        pytest.param({"status": 200}, 0.1, False, id="a fast answer"),
        pytest.param({"status": 304}, 0.1, False, id="not modified"),
        pytest.param({"status": 200}, 1.0, True, id="as slow as slow"),
        pytest.param({"status": 404}, 0.1, True, id="not found by the backend"),
        pytest.param({"status": 429, "error": ErrorKind.RATE_LIMITED}, 0.0001, True, id="denied"),
        pytest.param({"status": 500}, 0.1, True, id="an error of the backend"),
        pytest.param({"status": 200, "error": ErrorKind.RESPONSE_TRUNCATED}, 0.1, True, id="cut after the head"),
        pytest.param({"status": 0, "error": ErrorKind.CLIENT_DISCONNECTED}, 0.1, True, id="the client left"),
        pytest.param({"status": 101}, 60.0, True, id="a long tunnel"),
    ],
)
def test_what_matters_always_has_a_line(
    observe: Observe, make_exchange: Any, tmp_path: Path, written: dict[str, Any], duration_s: float, is_logged: bool
) -> None:
    log = Log(tmp_path / "log", observe, sample=0.0, slow=1.0)
    record(make_exchange(**written), observe, 100.0 + duration_s)
    lines = log.lines()
    assert bool(lines) is is_logged
    assert [line["sample_rate"] for line in lines] == [1.0] * is_logged


def test_fast_answers_are_sampled_at_the_rate_that_the_line_says(
    observe: Observe, make_exchange: Any, tmp_path: Path
) -> None:
    log = Log(tmp_path / "log", observe, sample=0.1)
    ids = RequestIds()
    for _ in range(5000):
        record(make_exchange(identifier=ids.next()), observe, 100.01)
    lines = log.lines()
    assert 400 < len(lines) < 600
    assert {line["sample_rate"] for line in lines} == {0.1}


def test_two_hops_choose_the_same_requests(make_exchange: Any, tmp_path: Path) -> None:
    ids = RequestIds()
    identifiers = [ids.next() for _ in range(2000)]
    chosen = []
    for hop, sample in enumerate((0.05, 0.05, 0.2)):
        observe = Observe()
        log = Log(tmp_path / str(hop), observe, sample=sample)
        for identifier in identifiers:
            record(make_exchange(identifier=identifier), observe, 100.01)
        chosen.append({line["request_id"] for line in log.lines()})
    assert chosen[0] == chosen[1]
    assert chosen[0] < chosen[2]  # a lower rate keeps a part of what a higher one keeps


@pytest.mark.parametrize(("sample", "count"), [(1.0, 300), (0.0, 0)], ids=["all", "none"])
def test_the_ends_of_the_scale_are_exact(
    observe: Observe, make_exchange: Any, tmp_path: Path, sample: float, count: int
) -> None:
    log = Log(tmp_path / "log", observe, sample=sample)
    ids = RequestIds()
    for _ in range(300):
        record(make_exchange(identifier=ids.next()), observe, 100.01)
    assert len(log.lines()) == count


def test_a_line_says_everything(make_exchange: Any) -> None:
    policy = compile_limit("per-ip", LimitSettings(rate=Rate(20, 60.0), by="ip"), "t.yaml:1")
    exchange = make_exchange(
        query=b"q=shoes&token=CANARY",
        client=Client("203.0.113.7", b"", b"", user="alice"),
        decision=Verdict((policy,), (b"k",), policy, b"k", 12, 1.0, 0.0, (), LOCAL),
        cache_status=b"fwd=uri-miss; stored",
        bytes_received=3,
        bytes_sent=1024,
        queue_s=0.0005,
    )
    line = render(exchange, 0.0123456, 1767225600.5, 0.01)
    assert line.endswith(b"\n")
    assert json.loads(line) == {
        "ts": "2026-01-01T00:00:00.487Z",
        "request_id": "0192f0c1-2b3a-7000-9b1c-4dd7f0a1b2c3",
        "client_ip": "203.0.113.7",
        "user": sha256(b"alice").hexdigest()[:12],
        "fault": None,
        "method": "GET",
        "host": "shop.example",
        "route": "search",
        "path": "/api/search?q=shoes&token=***",
        "status": 200,
        "reason": None,
        "bytes_in": 3,
        "bytes_out": 1024,
        "dur_ms": 12.345,
        "queue_ms": 0.5,
        "upstream_ms": 1.0,
        "endpoint": "127.0.0.1:3000",
        "attempts": 1,
        "cache": "fwd=uri-miss; stored",
        "limit": {"policy": "per-ip", "remaining": 12},
        "sample_rate": 0.01,
    }


def test_every_line_has_the_same_keys_in_the_same_order(make_exchange: Any) -> None:
    full = json.loads(render(make_exchange(), 0.1, 1e9, 1.0))
    bare = json.loads(render(make_exchange(route=None, endpoint=None, query=b"\x01" * 3), 0.1, 1e9, 1.0))
    assert list(full) == list(bare) == list(AccessLine.__struct_fields__)


def test_an_api_key_is_shown_by_the_hash_of_its_id(make_exchange: Any) -> None:
    client = Client("203.0.113.7", b"", b"", api_key="partner-7")
    assert (
        json.loads(render(make_exchange(client=client), 0.1, 1e9, 1.0))["user"]
        == (sha256(b"partner-7").hexdigest()[:12])
    )


@pytest.mark.parametrize("status", [200, 401, 429, 502])
def test_no_secret_ever_reaches_a_line(observe: Observe, make_exchange: Any, tmp_path: Path, status: int) -> None:
    canary = b"CANARY-93a1"
    log = Log(tmp_path / "log", observe, sample=1.0)
    names = (b"Authorization", b"Cookie", b"X-Api-Key", b"Proxy-Authorization", b"User-Agent", b"Referer")
    for query in (b"token=%b", b"a=1&api_key=%b", b"X-Amz-Signature=%b", b"%%74oken=%b", b"to=/x?password=%b"):
        exchange = make_exchange(
            fields=tuple((name.lower(), name, b"Bearer " + canary) for name in names),
            path="/api;jsessionid=CANARY-93a1/x",
            query=query % canary,
            client=Client("203.0.113.7", b"", b"", user=canary.decode(), fault="expired"),
            status=status,
        )
        record(exchange, observe, 100.1)
    assert len(log.lines()) == 5
    assert canary not in log.path.read_bytes()


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param({"host": 'a"b\\c\x00\x1b[2J\u202e'}, id="host"),
        pytest.param({"path": "/\x7f\x9b\r\nGET / HTTP/1.1"}, id="path"),
        pytest.param({"path": "/a\x7fb"}, id="only a DEL"),
        pytest.param({"path": "/a\u00adb"}, id="only a soft hyphen"),
        pytest.param({"query": bytes(range(256))}, id="every byte in the query"),
        pytest.param({"method": b"\xff\xfe\n"}, id="method"),
        pytest.param({"identifier": b"\x00\xc3\xa4" * 300}, id="request id"),
        pytest.param({"cache_status": b"hit\n\n"}, id="cache status"),
        pytest.param({"route": "straße\n"}, id="a configured name"),
    ],
)
def test_a_line_is_one_line_of_printable_text(make_exchange: Any, odd: dict[str, Any]) -> None:
    line = render(make_exchange(**odd), 0.1, 1e9, 1.0)
    assert line.count(b"\n") == 1
    for value in json.loads(line).values():
        if isinstance(value, str):
            assert value.isprintable()


@pytest.mark.parametrize("field", ["host", "path", "route"])
def test_a_value_is_cut_at_a_kibibyte(make_exchange: Any, field: str) -> None:
    line = render(make_exchange(**{field: "/" + "x" * 50_000}), 0.1, 1e9, 1.0)
    assert len(json.loads(line)[field]) <= 1024
    assert len(line) < 2048


@settings(deadline=None)
@given(path=st.text(max_size=40), query=st.binary(max_size=60), host=st.text(max_size=40), method=st.binary(max_size=9))
def test_any_input_gives_one_valid_line(path: str, query: bytes, host: str, method: bytes) -> None:
    request = SimpleNamespace(path=path, query=query, host=host, method=method)
    exchange: Any = SimpleNamespace(
        **dict.fromkeys(("route", "error", "endpoint", "decision")),
        **dict.fromkeys(("status", "bytes_received", "bytes_sent", "attempts", "queue_s", "upstream_s"), 0),
        request=request,
        client=Client("::1", b"", b""),
        cache_status=b"",
        id=b"x",
    )
    line = render(exchange, 0.0, 1e9, 1.0)
    assert line.count(b"\n") == 1
    shown = json.loads(line)
    assert all(value.isprintable() for value in shown.values() if isinstance(value, str))


def test_off_writes_nothing(observe: Observe, make_exchange: Any, tmp_path: Path) -> None:
    observe.access_log.apply(AccessLogSettings(path="off", sample=1.0))
    record(make_exchange(status=500), observe, 100.1)
    assert observe.access_log.writer is None
    assert observe.access_log.threshold == 0


def test_a_reload_moves_the_log_to_another_file(observe: Observe, make_exchange: Any, tmp_path: Path) -> None:
    first = Log(tmp_path / "a", observe, sample=1.0)
    record(make_exchange(status=500), observe, 100.1)
    second = Log(tmp_path / "b", observe, sample=1.0)
    for _ in range(1000):  # until the thread has changed over
        record(make_exchange(status=502), observe, 100.1)
        if second.path.read_bytes():
            break
        sleep(0.005)
    assert {line["status"] for line in second.lines()} == {502}
    assert json.loads(first.path.read_bytes().splitlines()[0])["status"] == 500


def test_a_reload_to_a_file_that_cannot_be_opened_changes_nothing(
    observe: Observe, make_exchange: Any, tmp_path: Path
) -> None:
    log = Log(tmp_path / "log", observe, sample=1.0)
    with pytest.raises(FileNotFoundError):
        observe.apply(AccessLogSettings(path=str(tmp_path / "missing" / "log"), sample=0.0), set())
    record(make_exchange(), observe, 100.0)
    assert len(log.lines()) == 1


def test_a_rotation_that_fails_is_an_event_and_the_old_file_goes_on(
    observe: Observe, make_exchange: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    observe.access_log.apply(AccessLogSettings(path=str(folder / "log")))
    folder.rename(tmp_path / "moved")
    observe.reopen()
    assert observe.events.counts["access_log_failed"] == 1
    record(make_exchange(status=500), observe, 100.1)
    observe.access_log.stop()
    assert (tmp_path / "moved" / "log").read_bytes().count(b"\n") == 1


def test_a_stalled_log_never_holds_up_an_exchange(observe: Observe, make_exchange: Any, stalled_pipe: str) -> None:
    observe.access_log.apply(AccessLogSettings(path=stalled_pipe, sample=1.0))
    exchange = make_exchange()
    for _ in range(15_000):
        record(exchange, observe, 100.1)
    writer = observe.access_log.writer
    assert writer is not None
    assert writer.dropped > 0
    assert len(writer) <= writer.capacity
    observe.stop(0.1)
    assert observe.events.counts["access_log_failed"] >= 1


@pytest.mark.parametrize(
    ("written", "path"),
    [("-", "-"), ("off", "off"), ("logs/access.json", "logs/access.json")],
    ids=["standard output", "off", "a file"],
)
def test_the_path_is_a_file_or_one_of_two_words(written: str, path: str) -> None:
    assert AccessLogSettings(path=written).path == path


def test_a_relative_file_is_taken_from_the_folder_of_the_configuration() -> None:
    read = AccessLogSettings.model_validate(
        {"path": "a.log", "sample": "1%", "slow": "500ms"}, context=FromText("/etc")
    )
    assert (read.path, read.sample, read.slow) == ("/etc/a.log", 0.01, 0.5)
    assert AccessLogSettings.model_validate({"path": "-"}, context=FromText("/etc")).path == "-"
