"""Bad and odd answers of the backend: a 502, a cut connection, or exactly what was said (W1, W12, W18, W20; S1, S2)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.conformance.answers import ANSWERS, AnswerCase
from tests.conformance.backend import Backend
from tests.conformance.client import Client, Neighbour
from tests.conformance.judge import Finding, report, run_all
from tests.conformance.strict import Message
from tests.conformance.weir import Weir

pytestmark = pytest.mark.asyncio(loop_scope="session")

MOST_SOFT = 6
_OF_WEIR = frozenset(b"content-length transfer-encoding connection date x-request-id via cache-status".split())


async def test_no_answer_of_a_backend_harms_its_client_or_the_next_one(weir: Weir, backend: Backend) -> None:
    assert len(ANSWERS) >= 115
    assert len({case.id for case in ANSWERS}) == len(ANSWERS)
    backend.forget()
    for number, case in enumerate(ANSWERS):
        backend.scripts[b"/script/%d" % number] = case.script

    async def run(item: Any, neighbour: Neighbour) -> list[Finding]:
        number, case = item
        return await _judge(b"/script/%d" % number, case, weir.port, neighbour)

    numbered = list(enumerate(ANSWERS))
    findings = await run_all([item for item in numbered if not item[1].alone], run, weir.port, backend)
    findings += await run_all([item for item in numbered if item[1].alone], run, weir.port, backend, lanes=1)
    findings += [Finding(True, "weir", line[:2000]) for line in weir.defects()]
    text = report(findings)
    bad = sum(finding.is_bad for finding in findings)
    print(f"{len(ANSWERS)} answers: {bad} bad, {len(findings) - bad} soft\n{text}")
    backend.scripts.clear()
    assert not bad, text
    assert len(findings) <= MOST_SOFT, text


async def _judge(target: bytes, case: AnswerCase, port: int, neighbour: Neighbour) -> list[Finding]:
    findings: list[Finding] = []

    def bad(text: str) -> None:
        findings.append(Finding(True, case.id, text))

    client = await Client.connect(port)
    content = b"Content-Length: 0\r\n" if case.method == b"POST" else b""
    client.says(
        b"%b %b HTTP/%b\r\nHost: case.test\r\n%b\r\n" % (case.method, target, case.version, content), case.method
    )
    if not await client.answers(1, stays=True):
        bad(f"a hang; so far {bytes(client.received[:200])!r}")
    if case.alone:
        await asyncio.sleep(0.04)
    for _ in range(3):  # what is left on a connection of the pool would come to one of these
        if (found := await neighbour.ask()) is not None:
            bad(f"the neighbour got {found}")
    if client.violation is not None:
        bad(f"an unreadable answer, {client.violation}: {bytes(client.received[:300])!r}")
    elif not client.finals:
        if not client.is_over:
            bad("neither an answer nor an end")
        elif not case.cut:
            bad(f"cut: {bytes(client.received[:200])!r}")
        elif case.version == b"1.0" and not _is_short(bytes(client.received)):
            bad(f"a broken answer that looks whole: {bytes(client.received[:300])!r}")
    elif client.unread:
        bad(f"bytes behind the answer: {client.unread[:120]!r}")
    else:
        _judge_answer(case, client, bad)
    client.close()
    return findings


def _judge_answer(case: AnswerCase, client: Client, bad: Any) -> None:
    final = client.finals[0]
    made = final.get(b"proxy-status") is not None
    if case.relayed is not None and not made:
        if (difference := _difference(case, final, client)) is not None:
            bad(difference)
    elif case.failed and made:
        if final.status not in case.statuses:
            bad(f"answered {final.status}, not {sorted(case.statuses)}")
    elif case.cut and client.was_reset and final.framing == "eof":
        pass  # HTTP/1.0 without a length: the reset tells that it is not whole
    else:
        bad(f"answered {final.status} {final.body[:80]!r} {final.framing} {bytes(client.received[:300])!r}")


def _difference(case: AnswerCase, final: Message, client: Client) -> str | None:
    form = case.relayed
    assert form is not None
    if final.status != form.status:
        return f"status {final.status}"
    if final.body != form.body:
        return f"content {final.body[:100]!r}"
    fields = tuple((name, value) for name, value in final.fields if name.lower() not in _OF_WEIR)
    if fields != form.fields:
        return f"fields {fields!r}"
    if tuple(message.status for message in client.interims) != form.interims:
        return f"interims {[message.status for message in client.interims]}"
    return None


def _is_short(received: bytes) -> bool:
    """Whether a declared length says that content is missing."""
    head, _, body = received.partition(b"\r\n\r\n")
    lines = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return not received or (bool(lines) and int(lines[0].partition(b":")[2]) > len(body))
