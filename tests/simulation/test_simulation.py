"""A log against limits: what is denied is what the line itself would deny, counted in every way."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.units import Rate
from proxy.simulation.findings import LimitFinding
from proxy.simulation.nginx import nginx_reader
from proxy.simulation.simulate import Unreadable
from tests.simulation.conftest import Simulate, combined

PER_IP = """
limits: {per-ip: {rate: 3/min, algorithm: fixed}}
routes: [{name: all, upstream: app, limits: [per-ip]}]
"""


def only(limits: tuple[LimitFinding, ...], name: str) -> LimitFinding:
    (limit,) = [limit for limit in limits if limit.name == name]
    return limit


def test_requests_are_counted_by_limit_key_route_and_client(run: Simulate) -> None:
    lines = [combined(second, "/a", "192.0.2.1", 200 if second % 2 else 404) for second in range(10)]
    lines += [combined(second, "/b", "192.0.2.2") for second in range(3)]
    found = run(PER_IP, lines)
    assert (found.requests, found.denied, found.good, found.good_denied) == (13, 7, 8, 4)
    assert found.denied_share == pytest.approx(7 / 13)
    (limit,) = found.limits
    assert (limit.name, limit.rate, limit.requests, limit.denied, limit.good_denied) == ("per-ip", "3/min", 13, 7, 4)
    assert (limit.keys, limit.keys_denied) == (2, 1)
    (worst,) = limit.worst
    assert (worst.key, worst.requests, worst.denied, worst.longest_blocked_s) == ("192.0.2.1", 10, 7, 6.0)
    assert worst.longest_blocked_at == "2026-04-10 00:00:03"
    (client,) = found.clients
    assert (client.client, client.denied, client.limits) == ("192.0.2.1", 7, {"per-ip": 7})
    (route,) = found.routes
    assert (route.name, route.requests, route.denied, route.good_denied) == ("all", 13, 7, 4)
    assert sum(found.requests_over_time) == 13
    assert sum(found.denied_over_time) == sum(limit.denied_over_time) == 7
    assert (found.first_at, found.last_at) == ("2026-04-10 00:00:00", "2026-04-10 00:00:09")


def test_time_passes_as_in_the_log(run: Simulate) -> None:
    lines = [combined(second) for second in (0, 1, 2, 3, 61, 62, 63, 64)]
    assert run(PER_IP, lines).denied == 2
    assert run(PER_IP, [lines[at] for at in (3, 0, 2, 1, 7, 6, 5, 4)]).denied == 2  # as it is written, out of order


def test_an_ipv6_network_is_one_key(run: Simulate) -> None:
    lines = [combined(0, address=f"2001:db8::{number:x}") for number in range(5)]
    (limit,) = run(PER_IP, lines).limits
    assert (limit.keys, limit.denied, limit.worst[0].key) == (1, 2, "2001:db8::/64")


def test_a_client_that_has_only_a_name_is_a_client(run: Simulate) -> None:
    found = run(PER_IP, [combined(0, address=f"host{number % 2}.example") for number in range(8)])
    assert [worst.key for worst in found.limits[0].worst] == ["host0.example", "host1.example"]
    assert found.denied == 2


def test_all_limits_or_none_are_charged(run: Simulate) -> None:
    configuration = """
limits: {per-ip: {rate: 3/min, algorithm: fixed}, all: {rate: 5/min, by: global, algorithm: fixed}}
routes: [{name: all, upstream: app, limits: [per-ip, all]}]
"""
    lines = [combined(0, address="192.0.2.1") for _ in range(10)] + [combined(1, address="192.0.2.2") for _ in range(3)]
    found = run(configuration, lines)
    assert found.denied == 8  # 7 of the first client's, which cost the second nothing, and 1 of the second's
    assert only(found.limits, "all").denied == 1
    assert only(found.limits, "all").worst[0].key == "all"


def test_users_of_the_log_have_keys_of_their_own(run: Simulate) -> None:
    configuration = """
trusted_proxies: [192.0.2.1]
identity: {user: {header: X-User}}
limits: {per-user: {rate: 2/min, by: [ip, user], algorithm: fixed}}
routes: [{name: all, upstream: app, limits: [per-user], require_user: true}]
"""
    lines = [combined(0, user="alice")] * 4 + [combined(0, user="bob")] * 2
    found = run(configuration, lines)
    assert found.denied == 2
    assert only(found.limits, "per-user").worst[0].key == "192.0.2.1 + user alice"
    assert found.clients[0].client == "192.0.2.1, user alice"
    assert not any("names no user" in note for note in found.notes)
    assert any("names no user" in note for note in run(configuration, [combined(0)]).notes)


def test_forwarding_fields_are_believed_as_the_configuration_says(run: Simulate) -> None:
    read = nginx_reader('$remote_addr [$time_local] "$request" $status "$http_x_forwarded_for" "$http_x_device"')
    configuration = """
limits: {per-ip: {rate: 1/min, algorithm: fixed}, device: {rate: 1/min, by: "header:X-Device", missing: skip}}
routes: [{name: all, upstream: app, limits: [per-ip, device]}]
"""
    lines = [
        f'10.0.0.1 [10/Apr/2026:00:00:0{second} +0000] "GET / HTTP/1.1" 200 "{forwarded}" "{device}"\n'
        for second, forwarded, device in ((0, "198.51.100.1", "a"), (1, "198.51.100.2", "b"), (2, "198.51.100.3", "a"))
    ]
    trusting = "trusted_proxies: [10.0.0.0/8]\n" + configuration
    found = run(trusting, lines, read=read)
    assert only(found.limits, "per-ip").keys == 3
    assert (only(found.limits, "device").denied, only(found.limits, "device").worst[0].key) == (1, "field a")
    assert (
        only(run(configuration, lines, read=read).limits, "per-ip").denied == 2
    )  # all are 10.0.0.1 to who trusts none


def test_a_user_behind_a_trusted_proxy_keeps_the_address_of_the_client(run: Simulate) -> None:
    read = nginx_reader('$remote_addr $remote_user [$time_local] "$request" $status "$http_x_forwarded_for"')
    configuration = """
trusted_proxies: [10.0.0.0/8]
limits: {both: {rate: 1/min, algorithm: fixed, by: [ip, user]}}
routes: [{name: all, upstream: app, limits: [both]}]
"""
    lines = ['10.0.0.1 alice [10/Apr/2026:00:00:00 +0000] "GET / HTTP/1.1" 200 "198.51.100.1"\n'] * 2
    found = run(configuration, lines, read=read)
    assert only(found.limits, "both").worst[0].key == "198.51.100.1 + user alice"


def test_what_weir_would_not_route_is_counted_apart(run: Simulate) -> None:
    configuration = """
limits: {per-ip: {rate: 1/min}}
routes: [{name: api, upstream: app, limits: [per-ip], match: {path: /api/**, methods: [GET]}}]
"""
    lines = [
        combined(0, "/api/x"),
        combined(1, "/other"),
        combined(2, "/api/x", method="POST"),
        combined(3, "/api/%2e%2e/x"),
        combined(4, "/api/caf\xe9"),
        combined(5, "/api/x").replace("GET /api/x HTTP/1.1", "\\x16\\x03"),
    ]
    found = run(configuration, lines)
    assert (found.requests, found.refused, found.no_requests) == (1, {"400": 2, "404": 1, "405": 1}, 1)


def test_hosts_come_from_the_log_or_from_the_command_line(run: Simulate) -> None:
    configuration = """
limits: {per-ip: {rate: 1/min}}
routes: [{name: shop, upstream: app, limits: [per-ip], match: {hosts: [shop.example]}}]
"""
    lines = [combined(0), combined(1)]
    found = run(configuration, lines)
    assert (found.requests, found.refused) == (0, {"421": 2})
    assert any("--host" in note for note in found.notes)
    assert run(configuration, lines, host="shop.example").denied == 1
    found = run(configuration, [f"shop.example:443 {line}" for line in lines])
    assert (found.denied, found.notes[:1]) == (1, found.notes[:1])
    assert not any("--host" in note for note in found.notes)


def test_shadow_and_candidates_deny_nobody_and_are_told(run: Simulate) -> None:
    configuration = """
limits:
  watched: {rate: 2/min, algorithm: fixed, mode: shadow}
  tried: {rate: 100/min, algorithm: fixed, candidate: {rate: 4/min}}
routes: [{name: all, upstream: app, limits: [watched, tried]}]
"""
    found = run(configuration, [combined(0) for _ in range(10)])
    assert found.denied == 0
    watched, tried = only(found.limits, "watched"), only(found.limits, "tried")
    assert (watched.mode, watched.denied, watched.would_deny, watched.candidate_denied) == ("shadow", 8, 8, 0)
    assert (tried.mode, tried.denied, tried.would_deny, tried.candidate_denied) == ("enforce", 0, 0, 6)


def test_only_outcomes_that_count_are_charged(run: Simulate) -> None:
    configuration = """
limits: {guesses: {rate: 3/min, algorithm: fixed, count_if: "status in (401, 403)"}}
routes: [{name: all, upstream: app, limits: [guesses]}]
"""
    good = [combined(0, status=200) for _ in range(50)]
    bad = [combined(1, status=401) for _ in range(5)]
    assert run(configuration, good).denied == 0
    found = run(configuration, good + bad)
    assert (found.denied, only(found.limits, "guesses").now.denied) == (2, 2)  # type: ignore[union-attr]


def test_costs_by_size_are_those_of_the_log(run: Simulate) -> None:
    configuration = """
limits: {bytes: {rate: 10/min, algorithm: fixed, cost: {response_bytes: 20B}}}
routes: [{name: all, upstream: app, limits: [bytes]}]
"""
    assert run(configuration, [combined(0) for _ in range(5)]).denied == 3  # 100 bytes are 5 units


def test_what_is_under_way_ends_when_the_log_says(run: Simulate) -> None:
    configuration = """
limits: {flight: {algorithm: inflight, limit: 2, lease: 10s}}
routes: [{name: all, upstream: app, limits: [flight]}]
"""
    read = nginx_reader('$remote_addr [$time_local] "$request" $status $request_time')
    # written as they end: 0-30 s, 1-31 s, 2-3 s (too many), 32-33 s
    lines = [
        f'192.0.2.1 [10/Apr/2026:00:00:{end:02d} +0000] "GET / HTTP/1.1" 200 {took}.000\n'
        for end, took in ((3, 1), (9, 9), (8, 7), (33, 1))
    ]
    found = run(configuration, lines, read=read)
    assert found.denied == 1
    flight = only(found.limits, "flight")
    assert (flight.rate, flight.suggestion, flight.now) == ("2 at once", None, None)
    assert any("no durations" in note for note in run(configuration, [combined(0)]).notes)


def test_a_penalty_lasts_in_the_time_of_the_log(run: Simulate) -> None:
    configuration = """
limits: {strict: {rate: 1/s, algorithm: fixed, penalty: {after: 3, within: 1m, block: 5m}}}
routes: [{name: all, upstream: app, limits: [strict]}]
"""
    lines = [combined(0) for _ in range(4)] + [combined(60), combined(250), combined(400)]
    found = run(configuration, lines)
    assert found.denied == 5  # 3 by the rate, 2 by the block; after five minutes it is over
    assert only(found.limits, "strict").denied == 5


def test_who_is_on_a_list_is_denied_or_passed_over(run: Simulate) -> None:
    configuration = """
limits: {strict: {rate: 1/min, algorithm: fixed, deny: [192.0.2.0/28], allow: [198.51.100.0/24]}}
routes: [{name: all, upstream: app, limits: [strict]}]
"""
    lines = [combined(0, address="192.0.2.1")] * 2 + [combined(0, address="198.51.100.1")] * 5
    found = run(configuration, lines)
    assert (found.denied, only(found.limits, "strict").worst[0].key) == (2, "192.0.2.1")


def test_reads_over_a_limit_may_go_to_replicas(run: Simulate) -> None:
    configuration = """
limits: {strict: {rate: 2/min, algorithm: fixed, on_limit: [replica, reject]}}
routes: [{name: all, upstream: app, limits: [strict]}]
"""
    found = run(configuration, [combined(0) for _ in range(6)])
    assert (found.denied, only(found.limits, "strict").denied) == (2, 4)  # two pass by the second budget
    assert run(configuration, [combined(0, method="POST") for _ in range(6)]).denied == 4


def test_windows_of_the_calendar_are_those_of_the_log(run: Simulate) -> None:
    configuration = """
limits: {daily: {rate: 2/day, algorithm: fixed, time_zone: Europe/Berlin}}
routes: [{name: all, upstream: app, limits: [daily]}]
"""
    # midnight in Berlin is 22:00 UTC in April
    before, after = 22 * 3600 - 10, 22 * 3600 + 10
    found = run(configuration, [combined(before + second) for second in range(3)] + [combined(after)] * 2)
    assert found.denied == 1
    now = only(found.limits, "daily").now
    assert now is not None
    assert now.denied == 1


def weir_line(second: int, rate: float, status: int = 200, address: str = "192.0.2.1") -> str:
    return (
        json.dumps(
            {
                "ts": f"2026-04-10T00:00:{second:02d}.000Z",
                "client_ip": address,
                "user": None,
                "method": "GET",
                "host": "shop.example",
                "path": "/",
                "status": status,
                "bytes_out": 5,
                "dur_ms": 1.5,
                "sample_rate": rate,
            }
        )
        + "\n"
    )


def test_a_sampled_line_stands_for_many_requests(run: Simulate) -> None:
    found = run(PER_IP, [weir_line(0, 0.1), weir_line(1, 1.0, status=429)])
    assert (found.requests, found.lines) == (11, 2)
    assert found.denied == 8
    assert "1 lines are samples and stand for 10 requests" in found.notes[0]
    assert "estimate" in found.notes[0]
    assert list(found.files.values()) == ["weir"]


def test_other_rates_are_tried_beside_the_limit(run: Simulate) -> None:
    lines = [combined(second, address=f"192.0.2.{client}") for client in range(1, 11) for second in range(client)]
    (limit,) = run(PER_IP, lines, candidates={"per-ip": [Rate(5, 60.0), Rate(1, 60.0)]}).limits
    five, one = limit.candidates
    assert (five.rate, five.denied, five.keys_denied) == ("5/min", 15, 5)
    assert (one.rate, one.denied, one.keys_denied_share) == ("1/min", 45, 0.9)
    assert limit.suggestion is not None
    for suggested in (limit.suggestion.for_requests, limit.suggestion.for_keys):
        assert (suggested.rate, suggested.denied, suggested.keys_denied) == ("10/min", 0, 0)
    assert limit.suggestion.one_key_of == 1


def test_a_log_of_nothing_but_rubbish_says_so(run: Simulate) -> None:
    with pytest.raises(Unreadable) as caught:
        run(PER_IP, ["rubbish\n", "more\n"])
    assert [why for _, why, _ in caught.value.samples] == ["not in the combined log format"] * 2


def test_an_empty_log_has_no_requests_and_is_no_error(run: Simulate) -> None:
    found = run(PER_IP, [])
    assert (found.requests, found.lines, found.limits) == (0, 0, ())


def test_a_route_without_limits_is_counted_all_the_same(run: Simulate) -> None:
    found: Any = run("routes: [{name: free, upstream: app}]", [combined(0), combined(1)])
    assert (found.requests, found.denied, found.routes[0].requests) == (2, 0, 2)
