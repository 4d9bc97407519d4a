"""Asks before it measures: no peer is timed on an answer that is not the one the scenario is about."""

from __future__ import annotations

import http.client
from collections.abc import Mapping

from benchmarks.load import request_fields
from benchmarks.scenarios import Scenario

_TRIES = 4  # a limit lets the first one pass, a cache has to be filled
_RIGHT_IN_A_ROW = 2


class WrongAnswer(Exception):
    """The message says what was expected and what came."""


def probe(scenario: Scenario, port: int) -> None:
    """Raises WrongAnswer unless two answers in a row, on one connection, are right."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    content = b"x" * scenario.upload_bytes
    right, wrong = 0, ""
    try:
        for _ in range(_TRIES):
            connection.request(
                "POST" if content else "GET", scenario.path, body=content or None, headers=request_fields(scenario)
            )
            response = connection.getresponse()
            fields = {name.lower(): value for name, value in response.getheaders()}
            wrong = judge(scenario, response.status, fields, len(response.read()))
            if not wrong and connection.sock is None:
                wrong = "the connection was closed after the response"
            right = 0 if wrong else right + 1
            if right == _RIGHT_IN_A_ROW:
                return
    except (OSError, http.client.HTTPException) as error:
        raise WrongAnswer(f"{scenario.path}: {error!r}") from error
    finally:
        connection.close()
    raise WrongAnswer(f"{scenario.path}: {wrong}")


def judge(scenario: Scenario, status: int, fields: Mapping[str, str], content_bytes: int) -> str:
    """What is wrong with this answer, or "". Field names in lower case."""
    if status != scenario.status:
        return f"status {status} instead of {scenario.status}"
    if scenario.content_bytes not in (None, content_bytes):
        return f"{content_bytes} content bytes instead of {scenario.content_bytes}"
    if scenario.is_hit and not is_hit(fields):
        return "not served from the cache"
    if "x-request-id" not in fields:
        return "no X-Request-ID"
    if "x-backend" in fields:
        return "X-Backend was not removed"
    return ""


def is_hit(fields: Mapping[str, str]) -> bool:
    """Cache-Status (RFC 9211) says `hit`, X-Cache says `HIT`."""
    words = f"{fields.get('cache-status', '')};{fields.get('x-cache', '')}".lower().split(";")
    return "hit" in (word.strip() for word in words)
