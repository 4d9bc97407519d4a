"""Weir itself, that of this tree or of WEIR_PYTHON: memory store, or Redis when the scenario asks for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import ClassVar

from benchmarks.peers.peer import HIGH_PER_S, Missing, Peer
from benchmarks.subject import subject

# max_in_flight is what Weir is for: a thousand clients share 64 connections to the backend, and wait in the queue.
_SETTINGS = """\
version: 1
listen: 127.0.0.1:$port
admin: "off"
store: $store
access_log: {path: $directory/access.log, sample: 1%, slow: 10s}
upstreams:
  app:
    primary: http://127.0.0.1:$backend_port
    pool: {max_in_flight: 64, max_idle: 64, queue: 4096, queue_timeout: 10s}
limits:
  per-ip: {rate: $high/s, by: ip}
  per-route: {rate: $high/s, by: route}
  closed: {rate: 1/h, by: ip}
defaults:
  upstream: app
  limits: [per-ip, per-route]
routes:
  - {name: json, match: {path: /json}, request_fields: {set: {X-Edge: bench}}, response_fields: {remove: [X-Backend]}}
  - name: cached
    match: {path: /cached}
    cache: {}
    request_fields: {set: {X-Edge: bench}}
    response_fields: {remove: [X-Backend]}
  - name: denied
    match: {path: /denied}
    limits: [per-route, closed]
    request_fields: {set: {X-Edge: bench}}
    response_fields: {remove: [X-Backend]}
  - {name: file, match: {path: /file}, request_fields: {set: {X-Edge: bench}}, response_fields: {remove: [X-Backend]}}
  - name: upload
    match: {path: /upload, methods: [POST]}
    request_fields: {set: {X-Edge: bench}}
    response_fields: {remove: [X-Backend]}
"""


class Weir(Peer):
    name: ClassVar[str] = "weir"
    settings_name: ClassVar[str] = "proxy.yaml"

    def settings(self) -> str:
        return Template(_SETTINGS).substitute(
            port=self.port,
            backend_port=self.backend_port,
            directory=self.directory,
            store=self.redis_url or "memory",
            high=HIGH_PER_S,
        )

    def command(self, settings: Path) -> Sequence[str | Path]:
        return subject().command("run", "-c", settings)

    @property
    def env(self) -> Mapping[str, str]:
        return subject().env

    @classmethod
    def version(cls) -> str:
        try:
            return subject().version()
        except OSError as error:
            raise Missing(str(error)) from error
