"""All of it: a path becomes a Loaded, which holds either a snapshot or the reasons why there is none."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from proxy.config.advice import advise
from proxy.config.checks import check
from proxy.config.compile import Compiler
from proxy.config.diagnostics import Diagnostic, has_errors
from proxy.config.document import Document
from proxy.config.files import Files
from proxy.config.parts import Part
from proxy.config.settings import Settings
from proxy.config.source import parse
from proxy.core.clock import wall
from proxy.snapshot import Snapshot

__all__ = ["COMMAND_LINE", "Loaded", "load", "load_text"]

COMMAND_LINE = "command line"
"""The name of a configuration that is in no file."""


_LAST: Final = 1 << 30  # what is about a whole file stands after what is about its lines


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration as it was read. `snapshot` and `settings` are there exactly when no diagnostic is an error."""

    path: str  # of the root file; COMMAND_LINE when there is none
    settings: Settings | None
    snapshot: Snapshot | None
    diagnostics: tuple[Diagnostic, ...]  # in the order of the files, then of their lines
    files: tuple[str, ...]  # that were read: what a watcher has to watch

    @property
    def is_good(self) -> bool:
        return self.snapshot is not None


def load(
    path: str,
    *,
    environment: Mapping[str, str] | None = None,
    previous: Snapshot | None = None,
) -> Loaded:
    """Read the root file and what it includes. Reads files, so it blocks; never raises for what is in them.

    `previous` is the snapshot in force, which lends what outlives a reload: keys that were fetched.
    """
    files = Files(os.environ if environment is None else environment)
    root = files.read(path)
    documents = [root, *files.included(root)]
    return _assemble(path, documents, files.version, tuple(files.names), previous)


def load_text(text: str) -> Loaded:
    """A configuration that is in no file: the root alone, without substitutions of the environment."""
    document = parse(text.encode(), COMMAND_LINE, {})
    version = hashlib.sha256(text.encode()).hexdigest()[:12]
    return _assemble(COMMAND_LINE, [document], version, (), None)


def _assemble(
    path: str,
    documents: list[Document],
    version: str,
    names: tuple[str, ...],
    previous: Snapshot | None,
) -> Loaded:
    parts = [Part.of(document, is_root=index == 0) for index, document in enumerate(documents)]
    check(parts)
    compiler = Compiler(parts)
    snapshot = compiler.compile(version, wall(), previous)
    advise(parts)
    diagnostics = tuple(
        diagnostic
        for document in documents
        for diagnostic in sorted(document.diagnostics, key=lambda one: (one.line or _LAST, one.column))
    )
    if snapshot is None or has_errors(diagnostics):
        return Loaded(path, None, None, diagnostics, names)
    return Loaded(path, snapshot.settings, snapshot, diagnostics, names)
