"""What the store is asked to do, in Lua, so that each thing happens whole; and how it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1
from pathlib import Path
from typing import Final

_FOLDER: Final = Path(__file__).parent / "lua"


class Script:
    """One of them. The store knows it by its hash once it has seen it."""

    __slots__ = ("_asked", "_told", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        source = (_FOLDER / f"{name}.lua").read_text(encoding="ascii").encode("ascii")
        self._asked = (b"EVALSHA", sha1(source, usedforsecurity=False).hexdigest().encode("ascii"))
        self._told = (b"EVAL", source)

    def call(self, keys: Sequence[bytes], arguments: Sequence[bytes], *, tells: bool = False) -> bytes:
        """The command. `tells`: with the script itself, for a store that has not seen it."""
        return packed((*(self._told if tells else self._asked), b"%d" % len(keys), *keys, *arguments))


LOOK: Final = Script("look")
KEEP: Final = Script("keep")
FREE: Final = Script("free")
RENEW: Final = Script("renew")


def packed(words: Sequence[bytes]) -> bytes:
    """A command as RESP has it."""
    return b"*%d\r\n" % len(words) + b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])
