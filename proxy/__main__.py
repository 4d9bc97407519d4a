"""The command `weir`, and `python -m proxy`.

`healthcheck` runs every few seconds in a container and `version` in scripts: they are answered before anything heavy
is imported (30 ms instead of 300).
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run one verb and exit: 0 fine, 1 the configuration or the work failed, 2 wrong usage."""
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    if verb == "healthcheck":
        from proxy.cli.healthcheck import main as healthcheck

        sys.exit(healthcheck(sys.argv[2:]))
    if verb in ("version", "--version") and len(sys.argv) == 2:
        from proxy.cli.version import main as version

        sys.exit(version())
    from proxy.cli.app import app

    app(prog_name="weir")


if __name__ == "__main__":
    main()
