"""A cluster of real servers, on free ports of loopback."""

from __future__ import annotations

import shutil
import tempfile
from bisect import bisect_left
from collections.abc import Sequence

from tests.ports import free_port
from tests.store.processes import Process, until

HALVES = (8191, 16383)


class Member(Process):
    """One node."""

    def __init__(self, folder: str, name: str, *options: str) -> None:
        super().__init__(folder, name)
        self._bus = free_port()
        self._options = options

    def start(self, *lines: str, sentinel: bool = False) -> None:
        own = "save ''", "cluster-enabled yes", f"cluster-port {self._bus}", "cluster-node-timeout 1000"
        super().start(*own, *self._options, *lines, sentinel=sentinel)

    def meet(self, other: Member) -> None:
        self.admin.execute_command("CLUSTER", "MEET", "127.0.0.1", other.port, other._bus)

    def name(self) -> str:
        return str(self.admin.execute_command("CLUSTER", "MYID").decode())


class Cluster:
    """Masters that have all slots between them. `lasts`: the last slot of each. `options`: lines of configuration."""

    def __init__(self, lasts: Sequence[int] = HALVES, *options: str) -> None:
        self.folder = tempfile.mkdtemp(prefix="weir-")
        self.members = [Member(self.folder, str(number), *options) for number in range(len(lasts))]
        self.hosts = ",".join(f"127.0.0.1:{member.port}" for member in self.members)
        self.url = f"redis+cluster://{self.hosts}"
        self._lasts = lasts

    def start(self) -> None:
        """Waits until every slot has a master that all know."""
        begin = 0
        for member, last in zip(self.members, self._lasts, strict=True):
            member.start()
            member.admin.execute_command("CLUSTER", "ADDSLOTSRANGE", begin, last)
            begin = last + 1
        for other in self.members[1:]:
            self.members[0].meet(other)
        until(self.is_whole)

    def is_whole(self) -> bool:
        texts = [member.admin.execute_command("CLUSTER", "INFO") for member in self.members]
        return all(b"cluster_slots_ok:16384" in text and b"cluster_state:ok" in text for text in texts)

    def keeper(self, key: bytes) -> Member:
        """The master of a key."""
        slot: int = self.members[0].admin.execute_command("CLUSTER", "KEYSLOT", key)
        return self.members[bisect_left(self._lasts, slot)]

    def close(self) -> None:
        for member in self.members:
            member.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
