"""Bad and odd requests: refused, or forwarded in exactly one form, and nobody else notices (W4-W11, W14; S1, S2)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.backend import Backend
from tests.conformance.client import Client, Neighbour
from tests.conformance.corpus import CASES
from tests.conformance.judge import Finding, judge_request, report, run_all
from tests.conformance.weir import Weir

pytestmark = pytest.mark.asyncio(loop_scope="session")

MOST_SOFT = 6


async def test_no_request_of_the_corpus_is_taken_in_two_ways(weir: Weir, backend: Backend) -> None:
    assert len(CASES) >= 1000
    assert len({case.id for case in CASES}) == len(CASES)
    backend.forget()
    await _use_up_the_limit(weir)

    async def run(case: Any, neighbour: Neighbour) -> list[Finding]:
        return await judge_request(case, weir.port, backend, neighbour)

    findings = await run_all(CASES, run, weir.port, backend)
    findings += [Finding(True, "weir", line[:2000]) for line in weir.defects()]
    text = report(findings)
    bad = sum(finding.is_bad for finding in findings)
    print(f"{len(CASES)} requests: {bad} bad, {len(findings) - bad} soft\n{text}")
    assert not bad, text
    assert len(findings) <= MOST_SOFT, text


async def _use_up_the_limit(weir: Weir) -> None:
    """The route /denied/** admits one request an hour: ours."""
    client = await Client.connect(weir.port)
    for number in range(1, 10):
        client.says(b"GET /denied/a HTTP/1.1\r\nHost: a\r\n\r\n", b"GET")
        await client.answers(number)
        if client.finals[-1].status == 429:
            break
    assert client.finals[-1].status == 429
    client.close()
