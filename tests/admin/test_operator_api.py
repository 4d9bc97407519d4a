"""/v1/ over a real listener, with real limits and a real store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from proxy.admin.app import SECURITY_FIELDS, make_admin
from proxy.admin.health import Component
from proxy.admin.operator import Operator, Parts
from proxy.admin.runner import AdminRunner
from proxy.admin.tokens import name_of
from proxy.core.clock import monotonic, wall
from proxy.core.units import Rate
from proxy.limits import controls as controls_module
from proxy.limits.controls import Controls
from proxy.limits.limit import Limit
from proxy.limits.memory_store import MemoryStore
from proxy.limits.settings import LimitSettings
from proxy.limits.shared.controls_store import ControlsStore
from proxy.observe.collector import Collector, Sources
from proxy.observe.observe import Observe

TOKEN = "a-token-of-the-tests"
TOKENS = {"alice": sha256(TOKEN.encode()).hexdigest(), "bob": sha256(b"another").hexdigest()}
KEY = "/v1/limits/per-ip/keys/203.0.113.7"
BAN = {"for": "15m", "reason": "scraper"}


class Health:
    def is_started(self) -> bool:
        return True

    def is_draining(self) -> bool:
        return False

    async def components(self) -> Sequence[Component]:
        return []


class View:
    def __init__(self, observe: Observe) -> None:
        self.health = Health()
        self.metrics = Collector(Sources(observe))
        self.address = "127.0.0.1:9901"


def limit(name: str, **settings: Any) -> Limit:
    return Limit(name, LimitSettings.model_validate({"rate": Rate(5, 60.0)} | settings), f"t.yaml:{len(name)}")


class Weir:
    """The parts behind the API, and the API."""

    def __init__(self) -> None:
        self.observe = Observe()
        self.tokens = dict(TOKENS)
        self.limits = [
            limit("per-ip", by="ip", plans={"pro": Rate(50, 60.0)}, candidate={"rate": Rate(3, 60.0)}),
            limit("per-user", by=["user", "ip"], mode="shadow"),
            limit("all", by="global", algorithm="fixed"),
        ]
        self.store = MemoryStore(max_keys=1000)
        self.controls = Controls(wall)
        self.port = 0
        self.session: Any = None
        self.operator = Operator(
            Parts(
                tokens=lambda: self.tokens,
                limits=lambda: self.limits,
                routes=lambda: {"search", "buy"},
                store=self.store,
                controls=self.controls,
                sharing=ControlsStore(self.controls),
                audit=self.observe.audit,
                events=self.observe.events,
            )
        )

    async def ask(
        self, path: str, method: str = "GET", body: Any = None, token: str | None = TOKEN, **fields: str
    ) -> tuple[int, Any]:
        """Status and document."""
        headers = ({"Authorization": f"Bearer {token}"} if token is not None else {}) | fields
        url = f"http://127.0.0.1:{self.port}{path}"
        data = body if isinstance(body, bytes | None) else json.dumps(body)
        async with self.session.request(method, aiohttp.client.URL(url, encoded=True), headers=headers, data=data) as a:
            assert {name: a.headers[name] for name in SECURITY_FIELDS} == SECURITY_FIELDS
            assert a.headers["Content-Type"] == ("application/json" if a.status < 400 else "application/problem+json")
            self.fields = a.headers
            return a.status, json.loads(await a.text())

    def spend(self, name: str, key: bytes, times: int) -> None:
        """Requests of a key on one limit, denials noted as the line does."""
        (found,) = (limit for limit in self.limits if limit.name == name)
        for _ in range(times):
            now = monotonic()
            verdict = self.store.decide((found.live,), [key], now)
            if verdict.denied:
                found.stats.denied += 1
                found.stats.offenders.note(key, now)
            else:
                found.stats.allowed += 1

    def key(self, name: str, *parts: bytes) -> bytes:
        (found,) = (limit for limit in self.limits if limit.name == name)
        if len(parts) == 1:
            return found.prefix + (b"{%b}" % parts[0] if parts[0] else b"")
        rest = b"".join([b"%d:%b" % (len(part), part) for part in parts[1:]])
        return found.prefix + b"%d:{%b}" % (len(parts[0]), parts[0]) + rest


@pytest.fixture
async def weir() -> AsyncIterator[Weir]:
    made = Weir()
    runner = AdminRunner(make_admin(View(made.observe), made.operator))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.port = runner.addresses[0][1]
    async with aiohttp.ClientSession() as made.session:
        yield made
    await runner.cleanup()


# Who may ask.


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="no token"),
        pytest.param({"Authorization": "Bearer wrong"}, id="another token"),
        pytest.param({"Authorization": f"Basic {TOKEN}"}, id="another scheme"),
        pytest.param({"Authorization": TOKEN}, id="no scheme"),
        pytest.param({"Authorization": "Bearer "}, id="empty"),
        pytest.param({"Authorization": "Bearer " + TOKENS["alice"]}, id="the hash"),
        pytest.param({"Authorization": "Bearer " + "a" * 600}, id="too long"),
        pytest.param({"Cookie": f"token={TOKEN}"}, id="a cookie, as a browser would send it"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/limits", "/v1/kill/all", "/v1/nowhere", "/v1"])
async def test_without_a_known_token_nothing_is_looked_at(weir: Weir, path: str, fields: dict[str, str]) -> None:
    for method in ("GET", "PUT", "DELETE"):
        status, document = await weir.ask(path, method, BAN, token=None, **fields)
        assert status == 401
        assert weir.fields["WWW-Authenticate"] == 'Bearer realm="weir"'
        assert "limits" not in document
    assert weir.controls.is_empty
    assert weir.observe.events.counts["operator_refused"] == 3


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_is_read_in_any_case(weir: Weir, scheme: str) -> None:
    status, _ = await weir.ask("/v1/limits", token=None, Authorization=f"{scheme} {TOKEN}")
    assert status == 200


async def test_without_tokens_it_is_closed_and_says_how_to_open_it(weir: Weir) -> None:
    weir.tokens.clear()
    status, document = await weir.ask("/v1/limits")
    assert status == 403
    assert document["title"] == "The operator's API is closed: no token is configured."
    assert "operator: {tokens:" in document["detail"]


async def test_a_token_that_a_reload_took_away_is_refused(weir: Weir) -> None:
    assert (await weir.ask("/v1/limits", token="another"))[0] == 200
    del weir.tokens["bob"]
    assert (await weir.ask("/v1/limits", token="another"))[0] == 401


async def test_a_rebound_name_gets_nothing_even_with_the_token(weir: Weir) -> None:
    status, _ = await weir.ask("/v1/kill/all", "PUT", BAN, Host="evil.example")
    assert status == 421
    assert weir.controls.is_empty


async def test_health_and_metrics_need_no_token(weir: Weir) -> None:
    assert (await weir.ask("/livez", token=None))[0] == 200


@given(st.text(max_size=50), st.dictionaries(st.text(max_size=5), st.binary(max_size=8), max_size=4))
def test_a_name_comes_only_from_its_own_token(token: str, others: dict[str, bytes]) -> None:
    hashes = {name: sha256(other).hexdigest() for name, other in others.items()}
    stripped = token.strip().encode("utf-8", "surrogateescape") if token.isprintable() else b""
    expected = [name for name, other in others.items() if stripped and other == stripped]
    found = name_of(f"Bearer {token}", hashes) if token.isprintable() else None
    assert found == (expected[-1] if expected else None)


# What can be seen.


async def test_limits_come_with_numbers_counters_and_offenders(weir: Weir) -> None:
    weir.spend("per-ip", weir.key("per-ip", b"i203.0.113.7"), 8)
    weir.spend("per-ip", weir.key("per-ip", b"i203.0.113.8"), 6)
    status, document = await weir.ask("/v1/limits")
    assert status == 200
    first, second, third = document["limits"]
    assert (first["name"], first["by"], first["mode"], first["where"]) == ("per-ip", ["ip"], "enforce", "t.yaml:6")
    assert first["numbers"] == {
        "algorithm": "gcra",
        "limit": "5/min",
        "quota": 5,
        "window_s": 60,
        "burst": 5,
        "cost": 1,
    }
    assert first["plans"]["pro"]["limit"] == "50/min"
    assert first["candidate"]["limit"] == "3/min"
    assert (first["counters"]["allowed"], first["counters"]["denied"]) == (10, 4)
    assert first["offenders"] == [
        {"key": "203.0.113.7", "denied": 3, "error": 0},
        {"key": "203.0.113.8", "denied": 1, "error": 0},
    ]
    assert second["mode"] == "shadow"
    assert third["numbers"]["burst"] is None
    assert (await weir.ask("/v1/limits/per-ip"))[1] == first
    assert (await weir.ask("/v1/limits/per-ip/offenders?most=1"))[1]["offenders"] == first["offenders"][:1]


async def test_looking_at_a_key_charges_nothing(weir: Weir) -> None:
    weir.spend("per-ip", weir.key("per-ip", b"i203.0.113.7"), 2)
    for _ in range(10):
        status, document = await weir.ask(KEY)
        assert status == 200
        assert (document["answer"], document["remaining"], document["retry_after_s"]) == ("admit", 3, 0)
    assert document["key"] == "203.0.113.7"
    assert document["in_force"] == []
    weir.spend("per-ip", weir.key("per-ip", b"i203.0.113.7"), 5)
    _, document = await weir.ask(KEY)
    assert (document["answer"], document["remaining"]) == ("deny", 0)
    assert 0 < document["retry_after_s"] <= 12


async def test_a_key_can_be_looked_at_under_a_plan(weir: Weir) -> None:
    assert (await weir.ask(KEY + "?plan=pro"))[1]["remaining"] == 50
    status, document = await weir.ask(KEY + "?plan=gold")
    assert (status, document["plans"]) == (404, ["pro"])


@pytest.mark.parametrize(
    ("name", "text", "parts"),
    [
        pytest.param("per-ip", "2001:db8::1", (b"i2001:db8::/64",), id="IPv6"),
        pytest.param("per-ip", "2001:db8::/64", (b"i2001:db8::/64",), id="its network, with a slash"),
        pytest.param("per-user", "alice|203.0.113.7", (b"ualice", b"i203.0.113.7"), id="two parts"),
        pytest.param("per-user", "a/b%7C{c}|203.0.113.7", (b"ua/b|{c}", b"i203.0.113.7"), id="odd letters"),
        pytest.param("per-user", "jörg|unix", ("ujörg".encode(), b"iunix"), id="beyond ASCII"),
        pytest.param("all", "*", (b"",), id="one count for all"),
    ],
)
async def test_a_key_is_found_by_its_text(weir: Weir, name: str, text: str, parts: tuple[bytes, ...]) -> None:
    weir.spend(name, weir.key(name, *parts), 2)
    _, document = await weir.ask(f"/v1/limits/{name}/keys/{quote(text, safe='')}")
    assert document["remaining"] == 3


# What can be decided.


async def test_a_reset_gives_everything_back(weir: Weir) -> None:
    key = weir.key("per-ip", b"i203.0.113.7")
    weir.spend("per-ip", key, 9)
    before = weir.controls.generation
    status, document = await weir.ask(KEY + "?reason=support", "DELETE")
    assert (status, document["answer"], document["remaining"], document["shared"]) == (200, "admit", 5, True)
    assert weir.controls.generation > before
    assert (await weir.ask("/v1/limits/per-ip"))[1]["offenders"] == []
    (line,) = (await weir.ask("/v1/audit"))[1]["audit"]
    assert (line["what"], line["target"], line["reason"]) == ("reset", "per-ip 203.0.113.7", "support")
    assert (line["old"], line["new"]) == ({"remaining": 0}, {"remaining": 5})


async def test_a_reset_reaches_the_candidate_too(weir: Weir) -> None:
    (per_ip, *_) = weir.limits
    assert per_ip.candidate is not None
    key = per_ip.candidate.prefix + b"{i203.0.113.7}"
    for _ in range(3):
        weir.store.decide((per_ip.candidate,), [key], monotonic())
    assert weir.store.peek(per_ip.candidate, key, monotonic()).remaining == 0
    await weir.ask(KEY, "DELETE")
    assert weir.store.peek(per_ip.candidate, key, monotonic()).remaining == 3


async def test_a_ban_is_in_force_when_the_answer_is_there_and_ends(weir: Weir) -> None:
    status, document = await weir.ask(KEY + "/ban", "PUT", BAN)
    assert status == 200
    assert document["was"] is None
    assert document["shared"] is True
    entry = document["is"]
    assert (entry["kind"], entry["limit"], entry["key"]) == ("ban", "per-ip", "203.0.113.7")
    assert (entry["reason"], entry["who"]) == ("scraper", "alice")
    assert 899 < entry["ends_in_s"] <= 900
    ban = weir.controls.ban_of("per-ip", weir.key("per-ip", b"i203.0.113.7"))
    assert ban is not None
    assert (await weir.ask(KEY))[1]["answer"] == "block"
    assert [each["kind"] for each in (await weir.ask("/v1/controls"))[1]["controls"]] == ["ban"]
    status, document = await weir.ask(KEY + "/ban", "DELETE")
    assert (status, document["is"], document["was"]["kind"]) == (200, None, "ban")
    assert weir.controls.is_empty
    assert (await weir.ask(KEY + "/ban", "DELETE"))[0] == 404


async def test_an_unban_also_forgets_how_often_the_key_was_blocked(weir: Weir) -> None:
    key = weir.key("per-ip", b"i203.0.113.7")
    (per_ip, *_) = weir.limits
    weir.limits[0] = per_ip = limit("per-ip", by="ip", penalty={"after": 1, "block": 10.0})
    rule = per_ip.live.penalty
    assert rule is not None
    assert [per_ip.box.denied(rule, key, 10.0) for _ in range(2)] == [10.0, 20.0]
    weir.controls.ban("per-ip", key, 20.0, "1 denials within 1m")
    await weir.ask(KEY + "/ban", "DELETE")
    assert per_ip.box.denied(rule, key, 10.0) == 10.0


async def test_an_allow_is_in_force_and_taken_back(weir: Weir) -> None:
    await weir.ask(KEY + "/ban", "PUT", BAN)
    status, _ = await weir.ask(KEY + "/allow", "PUT", BAN | {"reason": "it was us"})
    assert status == 200
    assert (await weir.ask(KEY))[1]["answer"] == "not counted"
    assert [each["kind"] for each in (await weir.ask("/v1/controls"))[1]["controls"]] == ["allow"]
    assert (await weir.ask(KEY + "/allow", "DELETE"))[0] == 200
    assert weir.controls.is_empty


async def test_an_override_changes_the_numbers_of_its_key_alone(weir: Weir) -> None:
    weir.spend("per-ip", weir.key("per-ip", b"i203.0.113.7"), 5)
    body = {"rate": "600/min", "burst": 50, "for": "1h", "reason": "launch day"}
    await weir.ask(KEY + "/override", "PUT", body)
    assert (await weir.ask(KEY))[1]["answer"] == "deny"  # the wait of the old numbers is not over
    assert (await weir.ask(KEY + "/override", "DELETE"))[0] == 200
    body["reset"] = True
    status, document = await weir.ask(KEY + "/override", "PUT", body)
    assert status == 200
    assert (document["is"]["rate"], document["is"]["burst"]) == ("600/min", 50)
    _, document = await weir.ask(KEY)
    assert (document["answer"], document["numbers"]["limit"]) == ("admit", "600/min")
    assert (await weir.ask("/v1/limits/per-ip/keys/203.0.113.8"))[1]["numbers"]["limit"] == "5/min"
    _, document = await weir.ask(KEY + "/override", "PUT", body | {"rate": "700/min"})
    assert (document["was"]["rate"], document["is"]["rate"]) == ("600/min", "700/min")
    assert (await weir.ask(KEY + "/override", "DELETE"))[0] == 200
    assert (await weir.ask(KEY))[1]["numbers"]["limit"] == "5/min"


@pytest.mark.parametrize(
    ("path", "scope", "name"),
    [
        pytest.param("/v1/kill/all", "all", "", id="all"),
        pytest.param("/v1/kill/route/search", "route", "search", id="route"),
        pytest.param("/v1/kill/tenant/acme%2Feu", "tenant", "acme/eu", id="tenant"),
        pytest.param("/v1/kill/user/j%C3%B6rg", "user", "jörg", id="user"),
    ],
)
async def test_a_kill_switch_is_set_and_taken_back(weir: Weir, path: str, scope: Any, name: str) -> None:
    status, document = await weir.ask(path, "PUT", {"for": "10m", "reason": "bad deploy"})
    assert status == 200
    assert (document["is"]["scope"], document["is"]["name"]) == (scope, name or None)
    (entry,) = weir.controls.entries()
    assert entry.slot == ("kill", scope, name.encode())
    assert (await weir.ask("/v1/limits"))[0] == 200  # never the listener itself
    assert (await weir.ask(path, "DELETE"))[0] == 200
    assert weir.controls.is_empty


async def test_every_change_is_in_the_audit_trail(weir: Weir, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "weir.events")
    await weir.ask(KEY + "/ban", "PUT", BAN)
    await weir.ask(KEY + "/ban", "DELETE", token="another")
    await weir.ask("/v1/kill/route/buy", "PUT", {"for": "10m", "reason": "bad deploy"})
    await weir.ask("/v1/limits/nope/keys/x/ban", "PUT", BAN)
    _, document = await weir.ask("/v1/audit")
    kill, unban, ban = document["audit"]
    assert [line["what"] for line in (kill, unban, ban)] == ["kill", "unban", "ban"]
    assert [line["who"] for line in (kill, unban, ban)] == ["alice", "bob", "alice"]
    assert (kill["target"], unban["target"]) == ("route buy", "per-ip 203.0.113.7")
    assert (ban["old"], ban["new"]["reason"], ban["reason"]) == (None, "scraper", "scraper")
    assert (unban["old"]["who"], unban["new"], unban["until"]) == ("alice", None, None)
    assert ban["until"] == ban["new"]["until"]
    assert len([record for record in caplog.records if record.__dict__["event"] == "operator_change"]) == 3
    assert [line["what"] for line in (await weir.ask("/v1/audit?most=1"))[1]["audit"]] == ["kill"]


# What is refused.


@pytest.mark.parametrize(
    ("body", "title"),
    [
        pytest.param(b"{", "The body is not JSON", id="no JSON"),
        pytest.param(b"", "The body is not JSON", id="nothing"),
        pytest.param([], "Expected `object`, got `array`", id="a list"),
        pytest.param({"for": "15m"}, "Object missing required field `reason`", id="no reason"),
        pytest.param({"reason": "x"}, "Object missing required field `for`", id="no end"),
        pytest.param(BAN | {"reason": "  "}, "reason: say why", id="an empty reason"),
        pytest.param(BAN | {"reason": "x" * 201}, "reason: write one line", id="a long reason"),
        pytest.param(BAN | {"reason": "a\nb"}, "reason: write one line", id="two lines"),
        pytest.param(BAN | {"for": "forever"}, "for: `forever` is not a duration", id="for ever"),
        pytest.param(BAN | {"for": "31d"}, "for: write 1s to 30d", id="too long"),
        pytest.param(BAN | {"for": "10ms"}, "for: write 1s to 30d", id="too short"),
        pytest.param(BAN | {"for": 900}, "Expected `str`, got `int` - at `$.for`", id="a number"),
        pytest.param(BAN | {"until": "x"}, "Object contains unknown field `until`", id="a key too many"),
        pytest.param(b'{"for": "15m", "reason": "' + b"x" * 20_000 + b'"}', "Request Entity Too Large", id="large"),
    ],
)
@pytest.mark.parametrize("path", [KEY + "/ban", KEY + "/allow", "/v1/kill/all"])
async def test_a_bad_body_changes_nothing(weir: Weir, path: str, body: Any, title: str) -> None:
    status, document = await weir.ask(path, "PUT", body)
    assert status == (413 if "Large" in title else 400)
    assert document["title"].startswith(title)
    assert weir.controls.is_empty
    assert weir.observe.audit.lines() == []


@pytest.mark.parametrize(
    ("numbers", "title"),
    [
        pytest.param({}, "Object missing required field `rate`", id="no rate"),
        pytest.param({"rate": "fast"}, "rate: `fast` is not a rate", id="no rate either"),
        pytest.param({"rate": "5000000/s"}, "rate: this is more than a million a second", id="no limit"),
        pytest.param({"rate": "5/s", "burst": 0}, "burst: write 1 to", id="no burst"),
        pytest.param({"rate": "5/s", "burst": True}, "Expected `int | null`, got `bool`", id="no number"),
    ],
)
async def test_bad_numbers_change_nothing(weir: Weir, numbers: dict[str, Any], title: str) -> None:
    status, document = await weir.ask(KEY + "/override", "PUT", BAN | numbers)
    assert status == 400
    assert document["title"].startswith(title)
    assert weir.controls.is_empty


@pytest.mark.parametrize(
    ("path", "status", "title"),
    [
        pytest.param("/v1/limits/nope/keys/x/ban", 404, "There is no such limit.", id="limit"),
        pytest.param("/v1/limits/per-ip/keys/alice/ban", 400, "`alice` is not an address", id="key"),
        pytest.param("/v1/limits/per-user/keys/alice/ban", 400, "limit `per-user` counts by user and ip", id="parts"),
        pytest.param("/v1/limits/per-user/keys/%25FF%7C1.1.1.1/ban", 400, "the percent-encoded part", id="encoding"),
        pytest.param("/v1/kill/route/nope", 404, "There is no such route.", id="route"),
        pytest.param("/v1/kill/route", 404, "A kill switch is for `all`, or", id="no name"),
        pytest.param("/v1/kill/all/search", 404, "A kill switch is for `all`, or", id="a name for all"),
        pytest.param("/v1/kill/planet/earth", 404, "A kill switch is for `all`, or", id="scope"),
        pytest.param("/v1/curse", 404, "Not Found", id="path"),
        pytest.param("/v1/limits", 405, "Method Not Allowed", id="method"),
    ],
)
async def test_what_is_not_there_cannot_be_changed(weir: Weir, path: str, status: int, title: str) -> None:
    answered, document = await weir.ask(path, "PUT", BAN)
    assert (answered, document["title"][: len(title)]) == (status, title)
    assert weir.controls.is_empty


@pytest.mark.parametrize("most", ["0", "x", "1001", "-1", "9" * 5000])
async def test_a_count_that_is_none_is_refused(weir: Weir, most: str) -> None:
    assert (await weir.ask(f"/v1/audit?most={most}"))[0] == 400


async def test_too_many_decisions_are_refused(weir: Weir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controls_module, "MAX_ENTRIES", 1)
    assert (await weir.ask(KEY + "/ban", "PUT", BAN))[0] == 200
    status, document = await weir.ask("/v1/kill/all", "PUT", BAN)
    assert (status, document["title"]) == (409, "Too many decisions are in force; take some back first.")


async def test_a_store_that_does_not_answer_is_said(weir: Weir, monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        def peek(self, *_: Any) -> Any:
            return asyncio.get_running_loop().create_future()

    monkeypatch.setattr("proxy.admin.operator.STORE_TIMEOUT_S", 0.02)
    weir.operator._parts.store = Silent()
    status, document = await weir.ask(KEY)
    assert (status, document["title"]) == (503, "The shared store does not answer.")


async def test_a_listener_without_an_operator_has_no_v1(weir: Weir) -> None:
    runner = AdminRunner(make_admin(View(weir.observe)))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    weir.port = runner.addresses[0][1]
    assert (await weir.ask("/v1/limits"))[0] == 404
    await runner.cleanup()
