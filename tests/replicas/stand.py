"""Everything at once: a cluster, the shop on the primary and on each replica, and a Weir in front, each a process."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from itertools import count
from pathlib import Path

from tests.line.client import ask
from tests.line.process import Weir, eventually
from tests.ports import free_port
from tests.replicas.postgres import Cluster, Server

_SHOP = Path(__file__).with_name("shop.py")
_NUMBERS = count()
TOKEN = "of-the-tests"
ROUTES = """
identity: {user: {header: X-User}, tenant: {header: X-Tenant}}
trusted_proxies: [127.0.0.1/32]
operator: {tokens: {test: "%s"}}
routes:
  - {name: counters, match: {path: /counters/*}, upstream: shop}
  - {name: cached, match: {path: /cached/*}, upstream: shop, cache: {ttl: 60s}}
  - {name: slow, match: {path: /slow/*}, upstream: shop, cache: {ttl: 60s}}
  - {name: visits, match: {path: /visits/*}, upstream: shop}
  - {name: broken, match: {path: /broken}, upstream: shop}
  - {name: strict, match: {path: /strict/*}, upstream: shop, read: primary, rewrite: {path: "/counters/k"}}
""" % ("sha256:" + hashlib.sha256(TOKEN.encode()).hexdigest())


class Instance:
    """The shop on one server."""

    def __init__(self, server: Server, name: str) -> None:
        self.name = name
        self.server = server
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process = subprocess.Popen([sys.executable, str(_SHOP), str(self.port), server.dsn, name])

    def ready(self) -> Instance:
        def answers() -> bool:
            try:
                return ask(self.url, "GET", "/counters/x").status == 200
            except OSError:
                return False

        eventually(answers, 20.0)
        return self

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(5)


class Stand:
    """Started once for many tests; each gives the Weir a configuration of its own, or starts another."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.writer = Instance(cluster.primary, "primary")
        self.readers = [Instance(server, server.data.name) for server in cluster.replicas]
        for instance in (self.writer, *self.readers):
            instance.ready()

    def config(self, consistency: str = "", *, databases: bool = True, extra: str = "") -> str:
        """The upstream with its replicas; `consistency` is what stands in its braces.

        Its name is another one each time: a Weir that takes one configuration after the other counts from nothing.
        """
        name = f"shop-{next(_NUMBERS)}"
        replicas = [
            f"{{url: {reader.url}, database: {reader.server.dsn}}}" if databases else reader.url
            for reader in self.readers
        ]
        lines = [
            "upstreams:",
            f"  {name}:",
            f"    primary: {self.writer.url}",
            f"    replicas: [{', '.join(replicas)}]",
            f"    consistency: {{{consistency}}}",
        ]
        if databases:
            lines.append(f"    database: {self.cluster.primary.dsn}")
        return "\n".join([*lines, extra, ROUTES.replace("upstream: shop", f"upstream: {name}")])

    def stop(self) -> None:
        for instance in (self.writer, *self.readers):
            instance.stop()


def in_rotation(weir: Weir, count: int) -> None:
    """Wait until so many replicas may answer, or more."""
    try:
        eventually(lambda: weir.metric("weir_replica_in_rotation") >= count, 15.0)
    except AssertionError as late:
        raise AssertionError(
            [part for part in weir.healthz().json()["components"] if "database" in part["name"]]
        ) from late
