"""Everything that a run starts: the backend, the peers, and Redis for those whose limits are there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.backend import Backend
from benchmarks.machine import Cores
from benchmarks.peers import PEERS, Peer
from benchmarks.peers.peer import Missing
from benchmarks.process import StartError
from benchmarks.redis_server import RedisServer
from benchmarks.scenarios import Scenario

Tell = Callable[[str], None]


class Fleet:
    """Started once and kept: idle peers wait in the kernel and cost nothing, and every one stays warm."""

    def __init__(self, directory: Path, cores: Cores, tell: Tell) -> None:
        self.backend = Backend(directory / "backend")
        self.versions: dict[str, str] = {}
        self._directory = directory
        self._cores = cores
        self._tell = tell
        self._redis: RedisServer | None = None
        self._peers: dict[tuple[str, bool], Peer] = {}

    def start(self, names: Sequence[str], scenarios: Sequence[Scenario]) -> None:
        """A peer that is missing or does not come up is named and left out."""
        self.backend.start(self._cores.backend)
        in_memory = any(not scenario.needs_redis for scenario in scenarios)
        in_redis = any(scenario.needs_redis for scenario in scenarios)
        if in_redis and any("redis" not in PEERS[name].lacks for name in names):
            self._start_redis()
        for name in names:
            if in_memory:
                self._start_peer(name, None)
            if self._redis is not None and "redis" not in PEERS[name].lacks:
                self._start_peer(name, self._redis.url)

    def find(self, name: str, scenario: Scenario) -> Peer | None:
        """None when that peer has no answer to this scenario, is not there, or has ended."""
        peer = self._peers.get((name, scenario.needs_redis))
        return peer if peer is not None and peer.is_running and scenario.name not in peer.lacks else None

    def stop(self) -> None:
        for peer in self._peers.values():
            peer.stop()
        if self._redis is not None:
            self._redis.stop()
        self.backend.stop()

    def _start_peer(self, name: str, redis_url: str | None) -> None:
        kind = PEERS[name]
        directory = self._directory / (f"{name}-redis" if redis_url else name)
        peer = kind(directory, self.backend.port, redis_url)
        try:
            self.versions[name] = kind.version()
            peer.start(self._cores.proxy)
        except (Missing, StartError) as error:
            self._tell(f"{name}{' with Redis' if redis_url else ''} is left out: {error}")
        else:
            self._peers[name, redis_url is not None] = peer
            if peer.remark:
                self._tell(f"{name} {peer.remark}")

    def _start_redis(self) -> None:
        try:
            redis = RedisServer(self._directory / "redis")
            redis.start(self._cores.backend)
        except (Missing, StartError) as error:
            self._tell(f"limits in Redis are left out: {error}")
        else:
            self._redis = redis
            self.versions["redis"] = redis.version
