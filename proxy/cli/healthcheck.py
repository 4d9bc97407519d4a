"""`weir healthcheck`: asks the admin listener whether Weir is ready. For images without curl.

Only the standard library, because a container runs it every few seconds. Exit code 0: ready; 1: not, or no answer.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from http.client import HTTPException
from typing import Final

from proxy.cli.connection import DEFAULT_ADMIN, connect

__all__ = ["main"]

_MAX_BYTES: Final = 4096  # of the answer, shown when it is not 200


def main(arguments: Sequence[str]) -> int:
    """Wrong usage exits with 2, as everywhere."""
    options = _parser().parse_args(arguments)
    try:
        status, text = _ask(options.admin, options.path, options.timeout)
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "strerror", None) or error or type(error).__name__
        print(f"weir at {options.admin} does not answer: {reason}", file=sys.stderr)
        return 1
    if status == 200:
        print(text or "ready")
        return 0
    print(f"weir at {options.admin} says {status}: {text}", file=sys.stderr)
    return 1


def _ask(admin: str, path: str, timeout_s: float) -> tuple[int, str]:
    with closing(connect(admin, timeout_s)) as connection:
        connection.request("GET", path, headers={"Connection": "close"})
        with connection.getresponse() as answer:
            return answer.status, answer.read(_MAX_BYTES).decode("utf-8", "replace").strip()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="weir healthcheck", description="Ask a running Weir whether it is ready. Exit code 0: yes, 1: no."
    )
    parser.add_argument(
        "--admin",
        default=os.environ.get("WEIR_ADMIN", DEFAULT_ADMIN),
        help=f"host:port or unix:/path of the admin listener (default: $WEIR_ADMIN or {DEFAULT_ADMIN})",
    )
    parser.add_argument("--path", default="/readyz", help="what to ask for: /readyz (default), /livez or /healthz")
    parser.add_argument("--timeout", type=float, default=3.0, help="seconds (default: 3)")
    return parser
