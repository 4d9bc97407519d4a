"""/v1/precompute: what is fetched ahead of those who ask, and having it fetched now.

    GET /v1/precompute              each route's schedule: targets, next and last run, counters, the last error
    GET /v1/precompute/{name}       of one route
    POST /v1/precompute/{name}      run now, or join the run that is under way; 202. ?reason= goes into the audit trail

The POST is a webhook: for whoever knows that the figures behind a page have changed. Its body is not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from aiohttp import hdrs, web

from proxy.admin.answers import Refusal, json_response
from proxy.admin.bodies import reason_of
from proxy.admin.cache_documents import shown_uri
from proxy.admin.tokens import name_of
from proxy.core.clock import monotonic, wall
from proxy.core.units import format_duration
from proxy.observe.times import rfc3339

if TYPE_CHECKING:
    from proxy.cache.precompute.runner import Ahead, Precomputer
    from proxy.observe.audit import Audit

PREFIX: Final = "/v1/precompute"


class PrecomputeOperator:
    """Goes into the application of the operator's API, whose guard asks for the token."""

    def __init__(self, precomputer: Precomputer, audit: Audit, tokens: Callable[[], Mapping[str, str]]) -> None:
        self._precomputer = precomputer
        self._audit = audit
        self._tokens = tokens

    def add_to(self, app: web.Application) -> None:
        router = app.router
        router.add_get(PREFIX, self.all)
        router.add_get(PREFIX + "/{name}", self.one)
        router.add_post(PREFIX + "/{name}", self.run)

    async def all(self, request: web.Request) -> web.Response:
        now, now_wall = monotonic(), wall()
        groups = self._precomputer.groups.items()
        documents = [precompute_document(name, every, now, now_wall) for name, every in groups]
        return json_response(200, {"precomputes": documents})

    async def one(self, request: web.Request) -> web.Response:
        name, every = self._named(request)
        return json_response(200, precompute_document(name, every, monotonic(), wall()))

    async def run(self, request: web.Request) -> web.Response:
        name, every = self._named(request)
        reason = reason_of(request)
        who = name_of(request.headers.get(hdrs.AUTHORIZATION), self._tokens()) or ""  # the guard has let it in
        joined = self._precomputer.order(name)
        document = precompute_document(name, every, monotonic(), wall())
        done = {"targets": len(every), "joined": joined}
        self._audit.note(
            wall(), who=who, what="precompute", target=name, old=None, new=done, reason=reason, until_wall=None
        )
        return json_response(202, document | {"joined": joined})

    def _named(self, request: web.Request) -> tuple[str, Sequence[Ahead]]:
        groups = self._precomputer.groups
        name = request.match_info["name"]
        if name not in groups:
            raise Refusal(404, "No route of this name has a `precompute`.", precomputes=list(groups)[:100])
        return name, groups[name]


def precompute_document(name: str, every: Sequence[Ahead], now: float, now_wall: float) -> dict[str, Any]:
    """One route's. Sums and the latest of all its targets, then each of them."""
    targets = [_target_document(ahead, now, now_wall) for ahead in every]
    last = max(every, key=lambda ahead: ahead.last_run_wall or 0.0)
    numbers = last.precompute.numbers
    failing = [document for document in targets if document["failing"]]
    return {
        "name": name,
        "every": format_duration(numbers.every_s),
        "keep": format_duration(numbers.keep_s),
        "failing": bool(failing),
        "running": any(document["running"] for document in targets),
        "next_run_at": min(document["next_run_at"] for document in targets),
        "last_run_at": None if last.last_run_wall is None else rfc3339(last.last_run_wall),
        "last_error": failing[0]["last_error"] if failing else None,
        **{key: sum(document[key] for document in targets) for key in ("runs", "failures", "overtaken", "skipped")},
        "targets": targets,
    }


def _target_document(ahead: Ahead, now: float, now_wall: float) -> dict[str, Any]:
    due_in_s = max(ahead.schedule.due_at - now, 0.0)
    good_at = ahead.last_good_at
    return {
        "url": shown_uri(ahead.target.key),
        "failing": ahead.is_failing,
        "running": ahead.run is not None,
        "next_run_at": rfc3339(now_wall + due_in_s),
        "last_run_at": None if ahead.last_run_wall is None else rfc3339(ahead.last_run_wall),
        "last_success_age_s": None if good_at is None else round(now - good_at, 3),
        "took_s": None if ahead.took_s is None else round(ahead.took_s, 4),
        "last_status": ahead.last_status,
        "last_error": ahead.last_error or None,
        "bytes": ahead.bytes,
        "varies_by": [name.decode("latin-1") for name in ahead.vary],
        "runs": ahead.runs,
        "failures": ahead.failed_runs,
        "overtaken": ahead.overtaken,
        "skipped": ahead.skipped,
        "put_off": ahead.yielded,
    }
