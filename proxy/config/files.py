"""The root file and what it includes, each as a Document."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from proxy.config.document import Document, Listing, Scalar, Span
from proxy.config.source import MAX_BYTES, parse

__all__ = ["MAX_FILES", "Files"]

MAX_FILES: Final = 256
TESTS_SUFFIX: Final = ".test.yaml"


class Files:
    """Reads files and remembers them: their names for a watcher, their digest for the version."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._digest = hashlib.sha256()
        self.names: list[str] = []

    @property
    def version(self) -> str:
        """First 12 hex digits of the SHA-256 over all that was read, in the order of reading."""
        return self._digest.hexdigest()[:12]

    def read(self, name: str) -> Document:
        """One file. A file that is not there or cannot be read is a diagnostic, never empty settings."""
        self.names.append(name)
        try:
            if not Path(name).is_file():  # a directory; a pipe would block
                raise FileNotFoundError(2, "no such file")
            with open(name, "rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            document = Document(name, ())
            reason = (error.strerror or "error").lower()
            document.report("WEIR0109", f"the file cannot be read: {reason}", Span(0, 0))
            return document
        self._digest.update(b"%d:" % len(data) + data)  # with its length: moving text between files is a change
        return parse(data, name, self._environment)

    def included(self, root: Document) -> Iterator[Document]:
        """The documents that `include` of the root names, in order of their names, none of them twice, no tests."""
        seen = {os.path.realpath(root.name)}
        for pattern, path in _patterns(root):
            found = glob.glob(os.path.join(os.path.dirname(root.name), pattern), recursive=True)
            # tests of policies lie beside them (`weir test`): a pattern passes over them
            matches = sorted([name for name in found if not name.endswith(TESTS_SUFFIX)])
            if not matches:
                _report_no_match(root, pattern, path)
            for match in matches:
                real = os.path.realpath(match)
                if real not in seen:
                    seen.add(real)
                    if len(seen) > MAX_FILES:
                        root.report("WEIR0107", f"`include` finds more than {MAX_FILES} files", path)
                        return
                    yield self.read(match)


def _patterns(root: Document) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    """What stands under `include`, as far as it is text; the model complains about the rest."""
    node, taken = root.find(("include",))
    if taken == ("include",) and isinstance(node, Listing):
        for index, item in enumerate(node.items):
            if isinstance(item, Scalar) and _is_pattern(item.value):
                yield item.value, ("include", index)


def _is_pattern(value: object) -> bool:
    return isinstance(value, str) and bool(value) and "\0" not in value


def _report_no_match(root: Document, pattern: str, path: tuple[str | int, ...]) -> None:
    # A directory that is not there must not pass for one without limits in it.
    folder = os.path.join(os.path.dirname(root.name), os.path.dirname(pattern))
    if not glob.has_magic(pattern):
        root.report("WEIR0109", f"`{pattern}` cannot be read: no such file", path)
    elif not glob.has_magic(folder) and not os.path.isdir(folder or "."):
        root.report("WEIR0109", f"the folder of `{pattern}` does not exist", path)
    else:
        root.report("WEIR0401", f"no file matches `{pattern}`", path, severity="warning")
