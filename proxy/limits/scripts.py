"""The Lua that decides in the store, put together once: the algorithms, then what uses them."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha1
from pathlib import Path
from typing import Final

EPOCH_WALL: Final = 1735689600.0  # the instant that the script counts seconds from, 1 January 2025, as Unix time

_FOLDER: Final = Path(__file__).parent / "lua"


def _source(*names: str) -> str:
    return "\n".join([(_FOLDER / f"{name}.lua").read_text(encoding="utf-8") for name in names])


ALGORITHMS: Final = _source("gcra", "fixed", "sliding", "log", "inflight")
DECIDE: Final = (ALGORITHMS + "\n" + _source("decide")).encode("ascii")
DECIDE_SHA: Final = sha1(DECIDE, usedforsecurity=False).hexdigest().encode("ascii")  # the store's name for it


def script_argument(algorithm: str, numbers: Iterable[float], cost: int, is_enforced: bool) -> bytes:
    """What the script is told of a policy, as a RESP bulk string: the same bytes for every request.

    Empty for `calendar`: when its windows end is added when it is sent (group.py).
    """
    return b"" if algorithm == "calendar" else argument_now(algorithm, numbers, cost, is_enforced)


def argument_now(algorithm: str, numbers: Iterable[float], cost: int, is_enforced: bool) -> bytes:
    """The same with the numbers as they are now."""
    data = " ".join([algorithm, str(cost), str(int(is_enforced)), *map(repr, numbers)]).encode("ascii")
    return b"$%d\r\n%b\r\n" % (len(data), data)
