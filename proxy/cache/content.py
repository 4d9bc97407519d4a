"""Content of a stored response: in memory as bytes, or Kept elsewhere and then only to be had as a Source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from proxy.cache.replay import Replay

if TYPE_CHECKING:
    from proxy.cache.entry import Entry
    from proxy.http.message import Source


class Kept(Protocol):
    """Content that is not in memory. It is there as long as somebody holds it: an entry that is stored, or a reader.

    Its length is never below `replay.STREAMED_BYTES`: nobody writes it at once.
    """

    entry: Entry | None  # the stored one whose content it is

    @property
    def memory_bytes(self) -> int:
        """What keeping it takes in memory all the same."""

    @property
    def is_gone(self) -> bool:
        """Nobody held it any more: it cannot be read again."""

    def __len__(self) -> int: ...

    def hold(self) -> bool:
        """Keep it until `release`. False when it is gone already."""

    def release(self) -> None: ...

    def stream(self, start: int, end: int) -> Source:
        """`[start:end]` of it. Holds it from its start to its end."""


Content = bytes | Kept


def streamed(content: Content, start: int, end: int) -> Source:
    """`content[start:end]`, as fast as it is taken."""
    return Replay(content, start, end) if isinstance(content, bytes) else content.stream(start, end)


def in_memory(content: Content) -> int:
    """Bytes of memory that it takes."""
    return len(content) if isinstance(content, bytes) else content.memory_bytes


def is_gone(content: Content) -> bool:
    return not isinstance(content, bytes) and content.is_gone
