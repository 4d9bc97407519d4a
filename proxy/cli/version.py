"""`weir version`."""

from __future__ import annotations

import platform

from proxy import __version__

__all__ = ["main", "version"]


def main() -> int:
    print(f"weir {__version__} (Python {platform.python_version()}, {platform.system()} {platform.machine()})")
    return 0


def version() -> None:
    """Print the version of Weir and of the Python that it runs on."""
    main()
