"""The lines that `weir run` prints once everything is open. Every one of them is a fact."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from proxy import __version__

if TYPE_CHECKING:
    from proxy.config.load import Loaded
    from proxy.upstreams.upstream import Upstream

__all__ = ["startup_lines"]

_MOST_NAMES = 6


def startup_lines(loaded: Loaded, listening: Sequence[str], admin: str | None) -> Iterator[str]:
    """`listening` and `admin` are the addresses that were bound, with their real ports."""
    snapshot, settings = loaded.snapshot, loaded.settings
    assert snapshot is not None
    assert settings is not None
    files = f", {len(loaded.files)} files" if len(loaded.files) > 1 else ""
    yield f"weir {__version__}   {loaded.path}{files}"
    yield _line("listening", ", ".join(listening))
    for upstream in snapshot.upstreams.values():
        yield _line("upstream", _upstream(upstream))
    if admin is not None:
        yield _line("admin", f"{admin}   /healthz /metrics" if admin.startswith("http") else admin)
    yield _line("store", _store(settings.store))
    yield _line("limits", _named([f"{limit.name} {limit.label}" for limit in snapshot.limits]))
    yield _line("routes", _named([route.name for route in snapshot.routes.routes]))
    if loaded.files:
        yield _line("reload", f"kill -HUP {os.getpid()}")


def _line(label: str, text: str) -> str:
    return f"  {label:<11} {text}"


def _upstream(upstream: Upstream) -> str:
    text = f"{upstream.name}: " + ", ".join(address.label for address in upstream.primary)
    if upstream.replicas:
        text += "; replicas " + ", ".join(address.label for address in upstream.replicas)
    return text


def _store(url: str) -> str:
    """Never with the password."""
    if url == "memory":
        return "memory: limits count in this process alone"
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"  # of one host or of several


def _named(names: Sequence[str]) -> str:
    if not names:
        return "none"
    more = f", and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"{len(names)}: " + ", ".join(names[:_MOST_NAMES]) + more
