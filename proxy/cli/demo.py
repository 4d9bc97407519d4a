"""`weir demo`: a small shop with two replicas, Weir in front of it, and real requests that show what Weir does."""

from __future__ import annotations

import secrets
import shutil
import signal
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated, Final, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from proxy.cli.demo_client import is_ok
from proxy.cli.demo_database import start_storage
from proxy.cli.demo_processes import Children, DemoError, choose_port, find_project, free_ports
from proxy.cli.demo_transcript import Ports, Transcript, play, sign_in
from proxy.core.clock import monotonic

__all__ = ["demo"]

START_TIMEOUT_S: Final = 20.0
INSTANCES: Final = ("primary", "replica-1", "replica-2")


def demo(
    once: Annotated[bool, typer.Option("--once", help="Show everything, verify it, and exit with 0 or 1.")] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where Weir listens.")] = 8080,
    admin_port: Annotated[int, typer.Option(min=1, max=65535, help="Where its operator's side listens.")] = 9901,
    keep_data: Annotated[bool, typer.Option("--keep-data", help="Keep the database and the logs.")] = False,
    postgres: Annotated[bool, typer.Option(help="Keep the shop's data in Postgres, if its wheel is installed.")] = True,
) -> None:
    """Start an example shop with Weir in front of it, and show what Weir does to real requests."""
    console = Console(highlight=False)
    signal.signal(signal.SIGTERM, _stop)
    folder = Path(tempfile.mkdtemp(prefix="weir-demo-"))
    status = 1
    try:
        project = find_project()
        with Children(project, folder, remove=None if keep_data else folder) as children:
            begin = partial(_start, console, children, project, folder, wants_postgres=postgres)
            status = _run(console, children, folder, partial(begin, port=port, admin_port=admin_port), once=once)
    except DemoError as error:
        console.print(f"[bold red]demo:[/] {escape(str(error))}", soft_wrap=True)
    except KeyboardInterrupt:
        console.print("\nInterrupted.")
        status = 130  # as a shell counts: 128 + SIGINT
    finally:
        if keep_data:
            console.print(f"Database and logs are in {folder}", soft_wrap=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    raise typer.Exit(status)


def _run(console: Console, children: Children, folder: Path, start: Callable[[], Ports], *, once: bool) -> int:
    started_at = monotonic()
    ports = start()
    tokens = (sign_in(ports, "ana", "correct horse"), sign_in(ports, "ben", "battery staple"))
    transcript = Transcript(console)
    play(transcript, ports, tokens)
    status = _conclude(transcript, monotonic() - started_at)
    if not once:
        (folder / "ana.token").touch(0o600)
        (folder / "ana.token").write_text(tokens[0])
        _invite(console, ports, folder)
        try:
            children.watch()
        except KeyboardInterrupt:
            console.print("\nStopping.")
    return status


def _start(
    console: Console,
    children: Children,
    project: Path,
    folder: Path,
    *,
    wants_postgres: bool,
    port: int,
    admin_port: int,
) -> Ports:
    console.print("Starting a shop (one primary, two replicas) and Weir in front of it.\n", soft_wrap=True)
    backends = dict(zip(INSTANCES, free_ports(len(INSTANCES)), strict=True))
    weir, admin = _port(console, port), _port(console, admin_port)
    environment = {"SHOP_TOKEN_SECRET": secrets.token_hex(32)}
    storage = start_storage(children, project, folder, INSTANCES, wants_postgres=wants_postgres)
    for role, number in backends.items():
        shop = ("-m", "examples.marketplace", "--role", role, "--port", str(number), "--data", str(folder))
        children.start(role, *shop, environment=environment | {"SHOP_DATABASE": storage.urls.get(role, "")})
    for role, number in backends.items():
        children.wait_until(role, partial(is_ok, number, "/healthz"), START_TIMEOUT_S)
    environment |= {
        "APP_PRIMARY": f"http://127.0.0.1:{backends['primary']}",
        "APP_REPLICA_1": f"http://127.0.0.1:{backends['replica-1']}",
        "APP_REPLICA_2": f"http://127.0.0.1:{backends['replica-2']}",
        "WEIR_LISTEN": f"127.0.0.1:{weir}",
        "SHOP_HOST": f"127.0.0.1:{weir}",
        "WEIR_ADMIN": f"127.0.0.1:{admin}",
        "WEIR_STORE": "memory",
        **storage.environment,
    }
    children.start("weir", "-m", "proxy", "run", "-c", "proxy.yaml", environment=environment)
    children.wait_until("weir", partial(is_ok, admin, "/readyz"), START_TIMEOUT_S)
    for name, text in (
        ("Weir", f"http://127.0.0.1:{weir}"),
        ("operator", f"http://127.0.0.1:{admin}"),
        ("backend", "  ".join(f"{role} :{number}" for role, number in backends.items())),
        *storage.lines,
    ):
        console.print(f"  [dim]{name:<9}[/] {text}", soft_wrap=True)
    primary, *replicas = backends.values()
    return Ports(weir, admin, primary, tuple(replicas) if storage.is_postgres else (), storage.has_pooler)


def _port(console: Console, preferred: int) -> int:
    number, is_preferred = choose_port(preferred)
    if not is_preferred:
        console.print(f"  Port {preferred} is busy; taking {number} instead.", soft_wrap=True)
    return number


def _conclude(transcript: Transcript, elapsed_s: float) -> int:
    console, failures = transcript.console, transcript.failures
    if not failures:
        console.print(f"\n[bold green]All as expected[/], in {elapsed_s:.1f} s.", soft_wrap=True)
        return 0
    console.print(f"\n[bold red]{len(failures)} not as expected:[/]", soft_wrap=True)
    for name in failures:
        console.print(f"  ✗ {name}", soft_wrap=True)
    return 1


def _invite(console: Console, ports: Ports, folder: Path) -> None:
    weir, admin = f"http://127.0.0.1:{ports.weir}", f"http://127.0.0.1:{ports.admin}"
    console.print("\n[bold]Still running. Try:[/]")
    for command in (
        f"curl -i '{weir}/api/search?q=bambo+ketle'",
        f"curl -i {weir}/api/products/7",
        f'curl -i -H "Authorization: Bearer $(cat {folder}/ana.token)" {weir}/api/orders',
        f"curl -o /dev/null {weir}/download/catalogue.bin",
        f"for n in $(seq 70); do curl -so /dev/null -w '%{{http_code}} ' '{weir}/api/search?q=mug'; done",
        f"curl {admin}/metrics",
        f"tail -f {folder}/weir.log",
    ):
        console.print(f"  {escape(command)}", soft_wrap=True)
    console.print("[dim]Ctrl-C stops everything.[/]")


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
