"""A file of the configuration, as far as it could be read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from proxy.config.document import Document, Mapping, Path
from proxy.config.settings import PolicySettings, RouteSettings, Settings
from proxy.config.validation import Validated, validate

__all__ = ["Part"]


@dataclass(frozen=True, slots=True)
class Part:
    """One file: the document, and the settings of what is right in it."""

    document: Document
    validated: Validated[Any]

    @classmethod
    def of(cls, document: Document, *, is_root: bool) -> Part:
        return cls(document, validate(document, Settings if is_root else PolicySettings))

    @property
    def settings(self) -> PolicySettings | None:
        settings: PolicySettings | None = self.validated.settings
        return settings

    @property
    def root(self) -> Settings | None:
        """The settings of the root file; None in an included file too."""
        settings = self.validated.settings
        return settings if isinstance(settings, Settings) else None

    def has(self, *path: str | int) -> bool:
        """Whether something stands there, right or wrong."""
        return self.document.find(path)[1] == path

    def names(self, section: str) -> dict[str, Path]:
        """The names under a section of the file, those of broken entries included."""
        node, taken = self.document.find((section,))
        if taken != (section,) or not isinstance(node, Mapping):
            return {}
        return {name: (section, name) for name in node.entries if not name.startswith("x-")}

    def routes(self) -> Iterator[tuple[Path, RouteSettings]]:
        """The routes that are right, each with its place in the file."""
        if self.settings is not None:
            for index, route in zip(self.validated.indices, self.settings.routes, strict=True):
                yield ("routes", index), route
