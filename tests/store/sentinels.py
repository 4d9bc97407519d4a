"""A master, a replica and Sentinels that watch them: real servers, on free ports."""

from __future__ import annotations

import shutil
import tempfile
from typing import Any

from tests.store.processes import Process, until

OF_THE_SENTINELS = "watch"
OF_THE_STORE = "count"


class Group:
    """A master, a replica and Sentinels that watch them."""

    def __init__(self, sentinels: int = 3) -> None:
        self.folder = tempfile.mkdtemp(prefix="weir-")
        self.servers = [Process(self.folder, f"server{i}", OF_THE_STORE) for i in range(2)]
        self.sentinels = [Process(self.folder, f"sentinel{i}", OF_THE_SENTINELS) for i in range(sentinels)]
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        self.url = f"redis+sentinel://:{OF_THE_STORE}@{hosts}/counts?sentinel_password={OF_THE_SENTINELS}"

    def start(self) -> None:
        master, replica = self.servers
        common = ("save ''", f"requirepass {OF_THE_STORE}", f"masterauth {OF_THE_STORE}", "repl-diskless-sync-delay 0")
        master.start(*common)
        replica.start(*common, f"replicaof 127.0.0.1 {master.port}")
        until(
            lambda: replica.admin.info("replication")["master_link_status"] == "up",  # type: ignore[index]
            lambda: f"the replica does not follow: {replica.admin.info('replication')}",
        )
        for sentinel in self.sentinels:
            sentinel.start(
                f"requirepass {OF_THE_SENTINELS}",
                f"sentinel monitor counts 127.0.0.1 {master.port} {(len(self.sentinels) + 1) // 2}",
                f"sentinel auth-pass counts {OF_THE_STORE}",
                "sentinel down-after-milliseconds counts 400",
                "sentinel failover-timeout counts 3000",
                sentinel=True,
            )
        until(
            lambda: all(known == self._all_there for known in self._known()),
            lambda: f"the Sentinels know {self._known()}, and should {self._all_there}",
        )

    def close(self) -> None:
        for each in (*self.servers, *self.sentinels):
            each.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def master_port(self, sentinel: Process) -> int:
        """Of the master, as that Sentinel has it."""
        answer: Any = sentinel.admin.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME counts")
        return int(answer[1])

    @property
    def _all_there(self) -> tuple[int, int]:
        return len(self.sentinels) - 1, 1

    def _known(self) -> list[tuple[int, int]]:
        """Of each Sentinel: how many others it knows, and how many replicas."""
        return [_counts_of(sentinel.admin.execute_command("SENTINEL MASTERS")) for sentinel in self.sentinels]


def _counts_of(masters: Any) -> tuple[int, int]:
    if isinstance(masters, dict):  # as the client parses it, depending on its version
        values = masters["counts"]
    else:
        values = {name.decode(): value for name, value in zip(masters[0][::2], masters[0][1::2], strict=True)}
    return int(values["num-other-sentinels"]), int(values["num-slaves"])
