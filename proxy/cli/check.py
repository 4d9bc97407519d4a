"""`weir check`: everything that is wrong with a configuration, at once, without starting anything."""

from __future__ import annotations

import sys
from typing import Any

import typer

from proxy.cli.options import DEFAULT_CONFIG, AsFormat, Config
from proxy.cli.output import Format, print_diagnostics, print_json
from proxy.config.diagnostics import as_json
from proxy.config.load import Loaded, load

__all__ = ["check"]


def check(config: Config = None, format: AsFormat = Format.TEXT) -> None:
    """Check the configuration. Exit code 0: fine, perhaps with warnings; 1: it has errors."""
    loaded = load(config or DEFAULT_CONFIG)
    if format is Format.JSON:
        print_json(_summary(loaded))
    else:
        print_diagnostics(loaded.diagnostics, sys.stdout)
        if loaded.is_good:
            print(f"{loaded.path} is fine: {_counts(loaded)}")
    raise typer.Exit(0 if loaded.is_good else 1)


def _summary(loaded: Loaded) -> dict[str, Any]:
    return {
        "ok": loaded.is_good,
        "version": loaded.snapshot.version if loaded.snapshot is not None else None,
        "files": list(loaded.files),
        "diagnostics": [as_json(diagnostic) for diagnostic in loaded.diagnostics],
    }


def _counts(loaded: Loaded) -> str:
    snapshot = loaded.snapshot
    assert snapshot is not None
    counts = (
        (len(loaded.files), "file"),
        (len(snapshot.upstreams), "upstream"),
        (len(snapshot.limits), "limit"),
        (len(snapshot.routes.routes), "route"),
    )
    return ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts)
