"""Mutated requests: what reaches the backend is what a strict reader finds in the same bytes, or nothing (S1, S2)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.backend import Backend, echo
from tests.conformance.client import Client, Neighbour
from tests.conformance.judge import Finding, Seen, report, run_all
from tests.conformance.mutate import mutations, read_strictly
from tests.conformance.strict import Message
from tests.conformance.weir import Weir

pytestmark = pytest.mark.asyncio(loop_scope="session")

FEW, MANY = 10_000, 100_000
SEED = 9112


async def test_mutations_are_read_as_a_strict_reader_reads_them(weir: Weir, backend: Backend) -> None:
    await _run(weir, backend, SEED, FEW)


@pytest.mark.long
async def test_many_mutations_are_read_as_a_strict_reader_reads_them(weir: Weir, backend: Backend) -> None:
    await _run(weir, backend, SEED + 1, MANY)


async def _run(weir: Weir, backend: Backend, seed: int, count: int) -> None:
    backend.forget()

    async def run(item: Any, neighbour: Neighbour) -> list[Finding]:
        number, data = item
        return await _judge(f"{seed}-{number}", data, weir.port, backend, neighbour)

    findings = await run_all(mutations(seed, count), run, weir.port, backend)
    findings += [Finding(True, "weir", line[:2000]) for line in weir.defects()]
    text = report(findings)
    bad = sum(finding.is_bad for finding in findings)
    print(f"{count} mutations: {bad} bad, {len(findings) - bad} soft\n{text}")
    assert not findings, text


async def _judge(name: str, data: bytes, port: int, backend: Backend, neighbour: Neighbour) -> list[Finding]:
    findings: list[Finding] = []

    def bad(text: str) -> None:
        findings.append(Finding(True, name, f"{text} {data[:700]!r}"))

    reading = read_strictly(data)
    client = await Client.connect(port)
    seen = Seen(backend, client)
    client.says(data, *[message.method for message in reading.possible])
    client.shuts_its_side()
    if not await client.answers(0, until_over=True):
        bad(f"a hang; so far {bytes(client.received[:200])!r}")
    client.close()
    if (found := await neighbour.ask()) is not None:
        bad(f"the neighbour got {found}")
    requests = seen.requests()
    backend.by_peer.pop(client.peer, None)
    is_tunnel = any(message.status == 101 for message in client.finals)
    if client.violation is not None and not is_tunnel:
        bad(f"an unreadable answer, {client.violation}: {bytes(client.received[:300])!r}")
    for message in client.finals:
        if message.status >= 500 and message.status not in (501, 505):
            bad(f"answered {message.status}")
    if len(requests) > len(reading.possible):
        bad(f"forwarded {[message.start for message in requests]}, and a strict reader finds {len(reading.possible)}")
    remaining = iter(reading.possible)  # some of them Weir answers itself; what it forwards keeps the order
    for forwarded in requests:
        if not any(_is_same(mine, forwarded) for mine in remaining):
            possible = [message.start for message in reading.possible]
            bad(f"forwarded {forwarded.start} with {forwarded.body[:60]!r}, and a strict reader finds {possible}")
    answered = [message for message in client.finals if message.status == 200]
    if len(answered) > len(requests):
        bad("more answers than requests")
    for forwarded, final in zip(requests, answered, strict=False):
        if forwarded.method != b"HEAD" and forwarded.get(b"upgrade") is None:
            if final.body != echo(client.peer, forwarded.method, forwarded.target, forwarded.body):
                bad(f"answered with {final.body[:100]!r}")
    if len(requests) < reading.certain or (len(answered) < reading.certain and not is_tunnel):
        statuses = [message.status for message in client.finals]
        findings.append(
            Finding(False, name, f"forwarded {len(requests)} of {reading.certain}, answered {statuses} {data[:700]!r}")
        )
    return findings


def _is_same(mine: Message, forwarded: Message) -> bool:
    target = mine.target
    if target[:1] != b"/":
        rest = target.partition(b"://")[2]
        slash, mark = rest.find(b"/"), rest.find(b"?")
        at = min([place for place in (slash, mark) if place >= 0], default=len(rest))
        target = rest[at:] if rest[at : at + 1] == b"/" else b"/" + rest[at:]
    host = mine.get(b"host")
    return (mine.method, target, mine.body) == (forwarded.method, forwarded.target, forwarded.body) and (
        not host or forwarded.get(b"host") == host
    )
