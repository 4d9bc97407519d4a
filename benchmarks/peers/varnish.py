"""Varnish: its cache in memory, one pool of threads; a master process and a child that serves."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import ClassVar

from benchmarks.peers.peer import HIGH_PER_S, Peer, find, first_line
from benchmarks.scenarios import SCENARIOS

_CACHED = ("hit", "varied-hit", "not-modified")
_SETTINGS = """\
vcl 4.1;
{imports}
backend app {{ .host = "127.0.0.1"; .port = "{backend_port}"; }}

sub vcl_recv {{
    set req.http.X-Request-ID = req.xid;
    set req.http.X-Edge = "bench";
{limits}}}

sub vcl_backend_response {{
    unset beresp.http.X-Backend;
}}

sub vcl_deliver {{
    set resp.http.X-Request-ID = req.http.X-Request-ID;
    if (obj.hits > 0) {{
        set resp.http.X-Cache = "HIT";
    }}
}}
"""
_LIMITS = """\
    if (vsthrottle.is_denied("ip " + client.ip, {high}, 1s) || vsthrottle.is_denied("url " + req.url, {high}, 1s)) {{
        return (synth(429));
    }}
"""
# Threads are all there from the beginning: one that ended meanwhile would take the precise reading of its time along.
_PARAMETERS = ("thread_pools=1", "thread_pool_min=200", "thread_pool_max=200", "listen_depth=8192")
_PROBE = 'vcl 4.1; import vsthrottle; backend none none; sub vcl_recv { vsthrottle.is_denied("a", 1, 1s); }\n'


class Varnish(Peer):
    name: ClassVar[str] = "varnish"
    lacks: ClassVar[dict[str, str]] = {
        name: "it is here for its cache: without a module it has no limits" for name in SCENARIOS if name not in _CACHED
    }
    settings_name: ClassVar[str] = "varnish.vcl"

    def __init__(self, directory: Path, backend_port: int, redis_url: str | None = None) -> None:
        super().__init__(directory, backend_port, redis_url)
        self._state: Path | None = None

    @property
    def remark(self) -> str:
        log = "writes its log to shared memory only, not to a file"
        return log if has_limits() else f"has no limits here (no vmod_vsthrottle), and {log}"

    def settings(self) -> str:
        limits = has_limits()
        return _SETTINGS.format(
            backend_port=self.backend_port,
            imports="import vsthrottle;" if limits else "",
            limits=_LIMITS.format(high=HIGH_PER_S) if limits else "",
        )

    def command(self, settings: Path) -> Sequence[str | Path]:
        program = find("varnishd")
        # Its log is a mapped file, written on every request: on a disk it would wait for the disk.
        self._state = Path(tempfile.mkdtemp(prefix="weir-varnish-", dir=_memory()))
        words: list[str | Path] = [program, "-F", "-j", "none", "-n", self._state, "-a", f"127.0.0.1:{self.port}"]
        words += ["-f", settings, "-s", "malloc,256m", "-T", "none", "-S", "none"]
        for parameter in _PARAMETERS:
            words += ["-p", parameter]
        return words

    def start(self, core: int) -> None:
        try:
            super().start(core)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        super().stop()
        if self._state is not None:
            shutil.rmtree(self._state, ignore_errors=True)
            self._state = None

    @classmethod
    def version(cls) -> str:
        text = first_line(find("varnishd"), "-V").removeprefix("varnishd (").split(" ")[0]
        return f"{text}, {'vsthrottle' if has_limits() else 'no limits'}"


@cache
def has_limits() -> bool:
    """Whether the module with limits by key is installed: such a configuration translates. Raises Missing."""
    with tempfile.TemporaryDirectory(prefix="weir-varnish-") as directory:
        probe = Path(directory) / "probe.vcl"
        probe.write_text(_PROBE)
        command = [find("varnishd"), "-C", "-j", "none", "-n", directory, "-f", str(probe)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _memory() -> str | None:
    """A directory in memory from which code may be loaded, for a configuration becomes a library there."""
    place = "/dev/shm"
    try:
        is_usable = not os.statvfs(place).f_flag & (os.ST_NOEXEC | os.ST_RDONLY)
    except OSError:
        return None
    return place if is_usable else None
