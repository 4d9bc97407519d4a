"""HAProxy: stick-table limits, its memory cache, one thread."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from benchmarks.peers.peer import HIGH_PER_S, Peer, find, first_line

# tune.bufsize: four times the default halves its download and upload, and costs its small answers nothing. The log
# goes to standard output, which is a file here: HAProxy writes to files in no other way.
_SETTINGS = """\
global
    nbthread 1
    maxconn 4096
    tune.bufsize 65536
    log stdout format raw local0

defaults
    mode http
    log global
    option httplog
    option forwardfor
    http-reuse always
    timeout connect 2s
    timeout client 75s
    timeout server 60s
    timeout http-request 10s
    timeout queue 10s
    unique-id-format %[uuid()]

cache stored
    total-max-size 64
    max-object-size 1000000
    max-age 3600

backend per_ip
    stick-table type ip size 100k expire 10s store http_req_rate(1s)

backend per_route
    stick-table type string len 64 size 1k expire 10s store http_req_rate(1s)

backend closed
    stick-table type ip size 100k expire 2h store http_req_rate(1h)

frontend edge
    bind 127.0.0.1:{port} backlog 8192
    unique-id-header X-Request-ID
    acl is_closed path /denied
    http-request track-sc0 src table per_ip if !is_closed
    http-request track-sc0 src table closed if is_closed
    http-request track-sc1 path table per_route
    http-request deny deny_status 429 hdr Retry-After 60 if is_closed {{ sc_http_req_rate(0) gt 1 }}
    http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt {high} }} || {{ sc_http_req_rate(1) gt {high} }}
    http-request set-log-level silent if {{ rand(100) ge 1 }}
    http-request set-header X-Edge bench
    http-response del-header X-Backend
    http-after-response set-header X-Request-ID %[unique-id]
    http-after-response set-header X-Cache HIT if {{ res.cache_hit }}
    use_backend stored if {{ path /cached }}
    default_backend app

backend app
    server one 127.0.0.1:{backend_port}

backend stored
    http-request cache-use stored
    http-response cache-store stored
    server one 127.0.0.1:{backend_port}
"""


class Haproxy(Peer):
    name: ClassVar[str] = "haproxy"
    lacks: ClassVar[dict[str, str]] = {
        "redis": "it has no limits in Redis",
        "not-modified": "its 304 says how long the content would be, and wrk waits for that",
    }
    settings_name: ClassVar[str] = "haproxy.cfg"

    def settings(self) -> str:
        return _SETTINGS.format(port=self.port, backend_port=self.backend_port, high=HIGH_PER_S)

    def command(self, settings: Path) -> Sequence[str | Path]:
        return [find("haproxy"), "-db", "-f", settings]

    @classmethod
    def version(cls) -> str:
        return first_line(find("haproxy"), "-v").partition(" - ")[0]
