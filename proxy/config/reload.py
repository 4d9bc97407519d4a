"""SIGHUP: read everything again, and either a new configuration comes out or nothing changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from proxy.cache.settings import DiskSettings
from proxy.config.diagnostics import Diagnostic
from proxy.config.load import COMMAND_LINE, Loaded, load
from proxy.config.settings import Settings

__all__ = ["Reloaded", "reload"]

_NEEDS_RESTART: Final = ("listen", "admin", "store", "cache.disk", "cache.shared")


@dataclass(frozen=True, slots=True)
class Reloaded:
    """`loaded` is None when the new configuration is refused: the old one stays in force."""

    loaded: Loaded | None
    diagnostics: tuple[Diagnostic, ...]
    needs_restart: tuple[str, ...] = ()  # sections that changed and stay as they were until a restart


def reload(
    current: Loaded,
    *,
    environment: Mapping[str, str] | None = None,
) -> Reloaded:
    """Read the files of `current` again. Blocks while it reads; never raises for what is in them.

    A file that vanished or is empty is an error like any other: it never means default settings.
    """
    if current.path == COMMAND_LINE:
        message = "there is no file to reload: this configuration came from the command line"
        return Reloaded(None, (Diagnostic("WEIR0110", message),))
    loaded = load(current.path, environment=environment, previous=current.snapshot)
    if loaded.snapshot is None or loaded.settings is None:
        return Reloaded(None, loaded.diagnostics)
    return Reloaded(loaded, loaded.diagnostics, _needs_restart(current.settings, loaded.settings))


def _needs_restart(old: Settings | None, new: Settings) -> tuple[str, ...]:
    if old is None:
        return ()
    changed = {
        "listen": old.listeners != new.listeners,
        "admin": old.admin != new.admin,
        "store": old.store != new.store,
        "cache.disk": _lasting(old.cache.disk) != _lasting(new.cache.disk),
        "cache.shared": _shared_place(old) != _shared_place(new),
    }
    return tuple(name for name in _NEEDS_RESTART if changed[name])


def _lasting(disk: DiskSettings | None) -> tuple[str, int] | None:
    """What of it follows no reload; its sizes do."""
    return None if disk is None else (disk.path, disk.threads)


def _shared_place(settings: Settings) -> tuple[str, str] | None:
    """Where responses are shared, if they are."""
    shared = settings.cache.shared
    return None if shared is None else (shared.url or settings.store, shared.namespace)
