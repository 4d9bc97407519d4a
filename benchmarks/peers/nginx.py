"""nginx: limit_req, proxy_cache, kept-alive upstream connections, one worker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from benchmarks.backend import nginx_user
from benchmarks.peers.peer import HIGH_PER_S, Peer, find, first_line

# Where nginx has a choice, the faster one: open_file_cache for the entries of its cache, content passed on while it
# arrives in both directions (its default gathers it first, in small buffers or in a file), large buffers for the large
# content. limit_req would write a line to the error log for each refusal, beside the one in the access log: its level
# is put below that log's.
_SETTINGS = """\
{user}
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log error;
events {{ worker_connections 8192; }}
http {{
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    proxy_cache_path {directory}/cache levels=1:2 keys_zone=stored:10m max_size=256m inactive=1h use_temp_path=off;
    open_file_cache max=1000 inactive=1h;
    open_file_cache_valid 1h;

    split_clients $request_id $is_sampled {{ 1% 1; * 0; }}
    map $status $is_logged {{ ~^[23] $is_sampled; default 1; }}
    access_log {directory}/access.log combined buffer=64k flush=1s if=$is_logged;

    limit_req_zone $binary_remote_addr zone=per_ip:10m rate={high}r/s;
    limit_req_zone $uri zone=per_route:10m rate={high}r/s;
    limit_req_zone $binary_remote_addr zone=closed:10m rate=1r/m;
    limit_req_status 429;
    limit_req_log_level info;

    sendfile on;
    tcp_nopush on;
    keepalive_timeout 75s;
    keepalive_requests 1000000000;
    client_max_body_size 0;

    upstream app {{
        server 127.0.0.1:{backend_port};
        keepalive 1024;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=8192;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Request-ID $request_id;
        proxy_set_header X-Edge bench;
        proxy_hide_header X-Backend;
        proxy_request_buffering off;
        client_body_buffer_size 512k;
        proxy_buffering off;
        proxy_buffer_size 16k;
        proxy_buffers 8 16k;
        add_header X-Request-ID $request_id always;

        location / {{
            limit_req zone=per_ip burst=10000 nodelay;
            limit_req zone=per_route burst=10000 nodelay;
            proxy_pass http://app;
        }}
        location = /file {{
            limit_req zone=per_ip burst=10000 nodelay;
            limit_req zone=per_route burst=10000 nodelay;
            proxy_buffer_size 256k;
            proxy_buffers 8 256k;
            proxy_busy_buffers_size 512k;
            proxy_pass http://app;
        }}
        location = /cached {{
            limit_req zone=per_ip burst=10000 nodelay;
            limit_req zone=per_route burst=10000 nodelay;
            proxy_buffering on;
            proxy_cache stored;
            proxy_cache_lock on;
            add_header X-Request-ID $request_id always;
            add_header X-Cache $upstream_cache_status always;
            proxy_pass http://app;
        }}
        location = /denied {{
            limit_req zone=per_route burst=10000 nodelay;
            limit_req zone=closed;
            add_header X-Request-ID $request_id always;
            add_header Retry-After 60 always;
            proxy_pass http://app;
        }}
    }}
}}
"""


class Nginx(Peer):
    name: ClassVar[str] = "nginx"
    lacks: ClassVar[dict[str, str]] = {"redis": "it has no limits in Redis"}
    settings_name: ClassVar[str] = "nginx.conf"

    def settings(self) -> str:
        return _SETTINGS.format(
            directory=self.directory,
            port=self.port,
            backend_port=self.backend_port,
            high=HIGH_PER_S,
            user=nginx_user(),
        )

    def command(self, settings: Path) -> Sequence[str | Path]:
        return [find("nginx"), "-c", settings, "-p", self.directory]

    @classmethod
    def version(cls) -> str:
        return first_line(find("nginx"), "-v").removeprefix("nginx version: ")
