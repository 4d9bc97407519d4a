"""The Lua that decides in the store, put together from what a call needs.

Valkey makes every function of a script anew for each call, and that costs more than the decision: so a call for gcra
alone carries nothing of the other algorithms. Each combination is a script of its own to the store, known by its hash.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha1
from pathlib import Path
from typing import Final

EPOCH_WALL: Final = 1735689600.0  # the instant that the script counts seconds from, 1 January 2025, as Unix time

_FOLDER: Final = Path(__file__).parent / "lua"
_FILES: Final = {
    "gcra": ("gcra",),
    "fixed": ("fixed",),
    "calendar": ("fixed", "calendar"),
    "sliding": ("sliding",),
    "log": ("log",),
    "inflight": ("inflight",),
}
NEEDS: Final = {name: 1 << place for place, name in enumerate(_FILES)}
"""The bit of each algorithm; a call needs the union of its policies'."""

ERRANDS: Final = 1 << len(_FILES)
"""The bit of what is not a decision."""


class Script:
    """One combination. `by_sha` and `by_source` are how a RESP command begins that runs it, without its first line."""

    __slots__ = ("by_sha", "by_source", "sha", "source")

    def __init__(self, needs: int) -> None:
        self.source = source_of(needs).encode("ascii")
        self.sha = sha1(self.source, usedforsecurity=False).hexdigest().encode("ascii")  # the store's name for it
        self.by_sha = b"$7\r\nEVALSHA\r\n$%d\r\n%b\r\n" % (len(self.sha), self.sha)
        self.by_source = b"$4\r\nEVAL\r\n$%d\r\n%b\r\n" % (len(self.source), self.source)


def script(needs: int) -> Script:
    """The script for what a call needs: bits of NEEDS, and ERRANDS. Made once."""
    made = _made.get(needs)
    if made is None:
        made = _made[needs] = Script(needs)
    return made


def source_of(needs: int) -> str:
    names = ["decide", "errands", "run"] if needs & ERRANDS else ["decide", "run"]
    return "\n".join([algorithms_source(needs), *[_text(name) for name in names]])


def algorithms_source(needs: int = ERRANDS - 1) -> str:
    """The algorithms, each a local table and a member of `algorithms`."""
    wanted = [name for name, bit in NEEDS.items() if needs & bit]
    files = dict.fromkeys(file for name in wanted for file in _FILES[name])
    lines = [f"algorithms.{file} = {file}" for file in files]
    return "\n".join(["local algorithms = {}", *[_text(file) for file in files], *lines, ""])


def script_argument(algorithm: str, numbers: Iterable[float], cost: int, is_enforced: bool) -> bytes:
    """What the script is told of a policy, as a RESP bulk string: the same bytes for every request.

    Empty for `calendar`: when its windows end is added when it is sent (group.py).
    """
    return b"" if algorithm == "calendar" else argument_now(algorithm, numbers, cost, is_enforced)


def argument_now(algorithm: str, numbers: Iterable[float], cost: int, is_enforced: bool) -> bytes:
    """The same with the numbers as they are now."""
    data = " ".join([algorithm, str(cost), str(int(is_enforced)), *map(repr, numbers)]).encode("ascii")
    return b"$%d\r\n%b\r\n" % (len(data), data)


def _text(name: str) -> str:
    return (_FOLDER / f"{name}.lua").read_text(encoding="utf-8")


_made: dict[int, Script] = {}
