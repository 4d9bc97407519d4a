"""/v1/: what an operator sees of the limits, and may decide about single keys and clients.

    GET /v1/limits                                          numbers, counters and top offenders
    GET /v1/limits/{name}                                   of one
    GET /v1/limits/{name}/offenders?most=20                 the keys that it denied most of late
    GET, DELETE /v1/limits/{name}/keys/{key}                look at a key, or give it everything back
    PUT, DELETE /v1/limits/{name}/keys/{key}/override       {"rate", "burst"?, "reset"?, "for", "reason"}
    PUT, DELETE /v1/limits/{name}/keys/{key}/ban            {"for", "reason"}
    PUT, DELETE /v1/limits/{name}/keys/{key}/allow          {"for", "reason"}
    GET /v1/controls                                        all that is in force
    PUT, DELETE /v1/kill/all  /v1/kill/{scope}/{name}       {"for", "reason"}; scope: route, tenant or user
    GET /v1/audit?most=100                                  who changed what

Every request needs a token (tokens.py). What is decided is in force here when the answer goes out; `shared` says
whether the other Weirs of the store will have it within half a second, or only when the store is back. The admin
listener itself is never stopped by a kill switch. `{key}` is written as limits/operator_keys.py says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final, get_args

from aiohttp import hdrs, web

from proxy.admin.answers import Refusal, json_response, problem
from proxy.admin.bodies import NewNumbers, Term, count_of, read_body, reason_of
from proxy.admin.documents import entry_document, key_document, limit_document, offenders_document
from proxy.admin.tokens import name_of
from proxy.clients.ip_text import canonical_address, limit_key
from proxy.core.clock import monotonic, wall
from proxy.limits.controls import Allow, Ban, Controls, ControlsFull, Entry, Kill, Override, Scope, Slot
from proxy.limits.operator_keys import shown, store_key
from proxy.limits.shared.controls_store import ControlsStore
from proxy.observe.audit import MAX_LINES, Audit
from proxy.observe.events import Event, Events

if TYPE_CHECKING:
    from proxy.limits.limit import Limit
    from proxy.limits.policy import LimitPolicy
    from proxy.limits.store import LimitStore
    from proxy.limits.verdict import Verdict

PREFIX: Final = "/v1"
STORE_TIMEOUT_S: Final = 2.0
_TOP: Final = 5  # offenders of each limit in the list of all
_NAME: Final = web.RequestKey("weir_operator", str)
_KEY: Final = PREFIX + "/limits/{name}/keys/{key:[^/]+}"

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Parts:
    """What the API works with. The callables follow a reload."""

    tokens: Callable[[], Mapping[str, str]]  # name -> hash
    limits: Callable[[], Sequence[Limit]]
    routes: Callable[[], Collection[str]]  # their names
    store: LimitStore
    controls: Controls
    sharing: ControlsStore
    audit: Audit
    events: Events


class Operator:
    """The API. `make_admin` adds it to its application."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def add_to(self, app: web.Application) -> None:
        router = app.router
        router.add_get(PREFIX + "/limits", self.limits)
        router.add_get(PREFIX + "/limits/{name}", self.limit)
        router.add_get(PREFIX + "/limits/{name}/offenders", self.offenders)
        router.add_get(_KEY, self.inspect)
        router.add_delete(_KEY, self.reset)
        for kind, put in (("override", self.put_override), ("ban", self.put_ban), ("allow", self.put_allow)):
            router.add_put(f"{_KEY}/{kind}", put)
            router.add_delete(f"{_KEY}/{kind}", self._revoking(kind))
        router.add_get(PREFIX + "/controls", self.controls)
        for path in ("/kill/{scope}", "/kill/{scope}/{name:[^/]+}"):
            router.add_put(PREFIX + path, self.put_kill)
            router.add_delete(PREFIX + path, self.delete_kill)
        router.add_get(PREFIX + "/audit", self.audit)
        app.middlewares.append(self.guard)

    @property
    def guard(self) -> Any:
        """Asks for the token before anything else under /v1/ is looked at."""

        @web.middleware
        async def guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
            if request.path != PREFIX and not request.path.startswith(PREFIX + "/"):
                return await handler(request)
            tokens = self._parts.tokens()
            if not tokens:
                hint = "Add `operator: {tokens: {NAME: HASH}}` to proxy.yaml; `weir keys token` makes both."
                return problem(403, "The operator's API is closed: no token is configured.", detail=hint)
            name = name_of(request.headers.get(hdrs.AUTHORIZATION), tokens)
            if name is None:
                self._parts.events.say(Event.OPERATOR_REFUSED, "A request to /v1/ had no token that is known.")
                response = problem(401, "This needs a token that is known here.")
                response.headers[hdrs.WWW_AUTHENTICATE] = 'Bearer realm="weir"'
                return response
            request[_NAME] = name
            try:
                return await handler(request)
            except Refusal as refusal:
                return problem(refusal.status, refusal.title, **refusal.members)

        return guard

    # What can be seen.

    async def limits(self, request: web.Request) -> web.Response:
        now = monotonic()
        documents = [limit_document(limit, limit.stats.offenders.top(_TOP, now)) for limit in self._parts.limits()]
        return json_response(200, {"limits": documents})

    async def limit(self, request: web.Request) -> web.Response:
        limit = self._limit(request)
        return json_response(200, limit_document(limit, limit.stats.offenders.top(_TOP, monotonic())))

    async def offenders(self, request: web.Request) -> web.Response:
        limit = self._limit(request)
        top = limit.stats.offenders.top(count_of(request, "most", 20, 128), monotonic())
        return json_response(200, {"limit": limit.name, "offenders": offenders_document(limit, top)})

    async def inspect(self, request: web.Request) -> web.Response:
        limit, key = self._key(request)
        plan = request.query.get("plan")
        if plan is not None and plan not in limit.plans:
            raise Refusal(404, f"Limit `{limit.name}` has no numbers for such a plan.", plans=list(limit.plans))
        policy = self._policy(limit, key, plan)
        verdict = await self._peek(policy, key)
        return json_response(200, key_document(limit, key, policy, verdict, self._parts.controls, wall()))

    async def controls(self, request: web.Request) -> web.Response:
        parts = self._parts
        limits, now_wall = {limit.name: limit for limit in parts.limits()}, wall()
        entries = [entry_document(entry, limits, now_wall) for entry in parts.controls.entries()]
        return json_response(200, {"controls": entries, **parts.sharing.status()})

    async def audit(self, request: web.Request) -> web.Response:
        return json_response(200, {"audit": self._parts.audit.lines(count_of(request, "most", 100, MAX_LINES))})

    # What can be decided.

    async def reset(self, request: web.Request) -> web.Response:
        limit, key = self._key(request)
        reason = reason_of(request)
        parts = self._parts
        policy = self._policy(limit, key, None)
        before = await self._peek(policy, key)
        await self._give_back(limit, key)
        is_shared = await parts.sharing.is_shared()
        after = await self._peek(policy, key)
        old, new = {"remaining": before.remaining}, {"remaining": after.remaining}
        self._note(request, "reset", f"{limit.name} {shown(limit, key)}", old, new, reason, None)
        document = key_document(limit, key, policy, after, parts.controls, wall())
        return json_response(200, document | {"shared": is_shared})

    async def _give_back(self, limit: Limit, key: bytes) -> None:
        for other in (limit.live, limit.candidate, limit.live.beside):  # those count under keys of their own
            if other is not None:
                await self._within(self._parts.store.reset(other, other.prefix + key[len(limit.prefix) :]))
        limit.box.forget(key)
        limit.stats.offenders.forget(key)
        self._parts.sharing.tell_reset(limit.name, key)

    async def put_ban(self, request: web.Request) -> web.Response:
        limit, key = self._key(request)
        body = await read_body(request, Term)
        return await self._decide(request, Ban(limit=limit.name, key=key, **_span(request, body)))

    async def put_allow(self, request: web.Request) -> web.Response:
        limit, key = self._key(request)
        body = await read_body(request, Term)
        return await self._decide(request, Allow(limit=limit.name, key=key, **_span(request, body)))

    async def put_override(self, request: web.Request) -> web.Response:
        limit, key = self._key(request)
        body = await read_body(request, NewNumbers)
        rate, span = body.parsed_rate, _span(request, body)
        override = Override(limit=limit.name, key=key, rate=rate, burst=body.burst, **span)
        try:
            limit.policies(key, None, override)  # whether these numbers can be counted at all
        except ValueError as error:
            raise Refusal(400, str(error)) from None
        if body.reset:
            await self._give_back(limit, key)
        return await self._decide(request, override)

    async def put_kill(self, request: web.Request) -> web.Response:
        scope, name = self._scope(request)
        body = await read_body(request, Term)
        if scope == "route" and name not in self._parts.routes():
            raise Refusal(404, "There is no such route.", routes=sorted(self._parts.routes())[:100])
        return await self._decide(request, Kill(scope=scope, name=name, **_span(request, body)))

    async def delete_kill(self, request: web.Request) -> web.Response:
        scope, name = self._scope(request)
        return await self._revoke(request, ("kill", scope, name.encode()))

    def _revoking(self, kind: str) -> _Handler:
        async def revoke(request: web.Request) -> web.Response:
            limit, key = self._key(request)
            return await self._revoke(request, (kind, limit.name, key))

        return revoke

    async def _decide(self, request: web.Request, entry: Entry) -> web.Response:
        parts = self._parts
        try:
            old = parts.controls.decide(entry)
        except ControlsFull:
            raise Refusal(409, "Too many decisions are in force; take some back first.") from None
        return await self._answer(request, entry.slot[0], old, entry, entry.reason, entry.until_wall)

    async def _revoke(self, request: web.Request, slot: Slot) -> web.Response:
        reason = reason_of(request)
        old = self._parts.controls.revoke(slot)
        if old is None:
            raise Refusal(404, f"There is no {slot[0]} to take back.")
        if isinstance(old, Ban):
            for limit in self._parts.limits():
                if limit.name == old.limit:
                    limit.box.forget(old.key)  # the next penalty is a first one again
        return await self._answer(request, _TAKEN_BACK[slot[0]], old, None, reason, None)

    async def _answer(
        self,
        request: web.Request,
        what: str,
        old: Entry | None,
        new: Entry | None,
        reason: str | None,
        until_wall: float | None,
    ) -> web.Response:
        parts = self._parts
        limits, now_wall = {limit.name: limit for limit in parts.limits()}, wall()
        before = None if old is None else entry_document(old, limits, now_wall)
        after = None if new is None else entry_document(new, limits, now_wall)
        self._note(request, what, _target(after or before or {}), before, after, reason, until_wall)
        is_shared = await parts.sharing.is_shared()
        return json_response(200, {"was": before, "is": after, "shared": is_shared})

    def _note(
        self,
        request: web.Request,
        what: str,
        target: str,
        old: dict[str, Any] | None,
        new: dict[str, Any] | None,
        reason: str | None,
        until_wall: float | None,
    ) -> None:
        self._parts.audit.note(
            wall(),
            who=request[_NAME],
            what=what,
            target=target,
            old=old,
            new=new,
            reason=reason,
            until_wall=until_wall,
        )

    # What a request names.

    def _limit(self, request: web.Request) -> Limit:
        limits = self._parts.limits()
        for limit in limits:
            if limit.name == request.match_info["name"]:
                return limit
        raise Refusal(404, "There is no such limit.", limits=[limit.name for limit in limits][:100])

    def _key(self, request: web.Request) -> tuple[Limit, bytes]:
        limit = self._limit(request)
        try:
            return limit, store_key(limit, request.match_info["key"], _address_key)
        except ValueError as error:
            raise Refusal(400, str(error)) from None

    def _scope(self, request: web.Request) -> tuple[Scope, str]:
        scope, name = request.match_info["scope"], request.match_info.get("name", "")
        for known in get_args(Scope):
            if scope == known and (scope == "all") is (not name):
                return known, name
        raise Refusal(404, "A kill switch is for `all`, or for a route, tenant or user by name.")

    def _policy(self, limit: Limit, key: bytes, plan: str | None) -> LimitPolicy:
        return limit.policies(key, plan, self._parts.controls.override_of(limit.name, key))[0]

    async def _peek(self, policy: LimitPolicy, key: bytes) -> Verdict:
        verdict: Verdict = await self._within(self._parts.store.peek(policy, key, monotonic()))
        return verdict

    async def _within(self, answer: Any) -> Any:
        """A store answers at once, or waits for at most so long."""
        if not isawaitable(answer):
            return answer
        try:
            async with asyncio.timeout(STORE_TIMEOUT_S):
                return await answer
        except TimeoutError:
            raise Refusal(503, "The shared store does not answer.") from None


_TAKEN_BACK: Final = {"ban": "unban", "allow": "disallow", "override": "restore", "kill": "revive"}


def _span(request: web.Request, body: Term) -> dict[str, Any]:
    now_wall = wall()
    until_wall = now_wall + body.for_s
    return {"since_wall": now_wall, "until_wall": until_wall, "reason": body.reason, "who": request[_NAME]}


def _target(document: Mapping[str, Any]) -> str:
    names = ("limit", "key") if "limit" in document else ("scope", "name")
    return " ".join(str(document[name]) for name in names if document.get(name))


def _address_key(text: str) -> bytes | None:
    if text == "unix":
        return b"unix"
    address = canonical_address(text.removesuffix("/64"))
    return None if address is None else limit_key(address)
