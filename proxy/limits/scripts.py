"""The Lua that decides in the store, put together from what a call needs.

Valkey makes every function of a script anew for each call, and that costs more than the decision: so a call for gcra
alone carries nothing of the other algorithms, and one request alone nothing of what is kept for many. Each combination
is a script of its own to the store, known by its hash.
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

_PARTS: Final = ("read", "write", "full_at", "step")  # of an algorithm but inflight, whose state is no text

ERRANDS: Final = 1 << len(_FILES)
"""The bit of what is not a decision."""

SINGLE: Final = ERRANDS << 1
"""The bit of a call that is one request which holds no leases, and nothing else."""


class Script:
    """One combination. `by_sha` and `by_source` are how a RESP command begins that runs it, without its first line."""

    __slots__ = ("by_sha", "by_source", "sha", "source")

    def __init__(self, needs: int) -> None:
        self.source = source_of(needs).encode("ascii")
        self.sha = sha1(self.source, usedforsecurity=False).hexdigest().encode("ascii")  # the store's name for it
        self.by_sha = b"$7\r\nEVALSHA\r\n$%d\r\n%b\r\n" % (len(self.sha), self.sha)
        self.by_source = b"$4\r\nEVAL\r\n$%d\r\n%b\r\n" % (len(self.source), self.source)


def script(needs: int) -> Script:
    """The script for what a call needs: bits of NEEDS, and ERRANDS or SINGLE. Made once."""
    made = _made.get(needs)
    if made is None:
        made = _made[needs] = Script(needs)
    return made


def source_of(needs: int) -> str:
    if needs & SINGLE:
        return "\n".join([*_texts(_files(needs)), *_texts(["call", "single"])])
    if needs & ERRANDS:
        return "\n".join([algorithms_source(needs), *_texts(["call", "decide", "errands", "run"])])
    return "\n".join([algorithms_source(needs, can_adjust=False), *_texts(["call", "decide", "run"])])


def algorithms_source(needs: int = ERRANDS - 1, *, can_adjust: bool = True) -> str:
    """The algorithms, each a member of the table `algorithms` by its name."""
    files = _files(needs)
    plain = [file for file in files if file != "inflight"]
    parts = [*_PARTS, "adjust"] if can_adjust else _PARTS
    members = [f"  {each} = {{ {', '.join(f'{part} = {each}_{part}' for part in parts)} }}," for each in plain]
    if len(plain) < len(files):
        members.append("  inflight = inflight,")
    texts = _texts([*files, *[f"{each}_adjust" for each in plain]] if can_adjust else files)
    return "\n".join([*texts, "local algorithms = {", *members, "}", ""])


def _files(needs: int) -> list[str]:
    wanted = [name for name, bit in NEEDS.items() if needs & bit]
    return list(dict.fromkeys(file for name in wanted for file in _FILES[name]))


def script_argument(algorithm: str, numbers: Iterable[float], cost: int, is_enforced: bool) -> bytes:
    """What the script is told of a policy, as a RESP bulk string: the same bytes for every request.

    Empty for `calendar`: when its windows end is added when it is sent (group.py).
    """
    return b"" if algorithm == "calendar" else argument_now(algorithm, numbers, cost, is_enforced)


def argument_now(algorithm: str, numbers: Iterable[float], cost: int, is_enforced: bool) -> bytes:
    """The same with the numbers as they are now."""
    data = " ".join([algorithm, str(cost), str(int(is_enforced)), *map(repr, numbers)]).encode("ascii")
    return b"$%d\r\n%b\r\n" % (len(data), data)


def _texts(names: Iterable[str]) -> list[str]:
    return [(_FOLDER / f"{name}.lua").read_text(encoding="utf-8") for name in names]


_made: dict[int, Script] = {}
