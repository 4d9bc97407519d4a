"""`weir version`."""

from __future__ import annotations

import platform

from proxy import __version__
from proxy.core.build import build

__all__ = ["main", "version"]


def main() -> int:
    machine = f"{platform.system()} {platform.machine()}"
    print(f"weir {__version__} (Python {platform.python_version()}, {machine}, {build()})")
    return 0


def version() -> None:
    """Print the version of Weir and of the Python that it runs on."""
    main()
