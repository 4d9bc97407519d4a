"""Access logs as entries: plain, gzipped or from standard input; several of them merged by time."""

from __future__ import annotations

import gzip
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from heapq import merge
from operator import attrgetter
from typing import Any, BinaryIO, Final

from proxy.simulation.entry import Entry, ReadLine
from proxy.simulation.formats import FORMATS, detect
from proxy.simulation.ordering import Sorter

STDIN: Final = "-"
MAX_LINE: Final = 64 * 1024  # bytes; a longer line is none
MAX_SAMPLES: Final = 5  # of rubbish lines, shown to people
_SAMPLE_CHARS: Final = 120
_LOOKED_AT: Final = 50  # lines, to know the format by
_REPORT_EVERY: Final = 4096  # lines
_GZIP: Final = b"\x1f\x8b"


class LogStats:
    """What reading has come across."""

    __slots__ = ("formats", "lines", "rubbish", "samples")

    def __init__(self) -> None:
        self.lines = 0  # blank ones are not counted
        self.rubbish = 0  # lines that no entry could be read from
        self.samples: list[tuple[str, str, str]] = []  # (where, why, the beginning of the line)
        self.formats: dict[str, str] = {}  # file -> format

    def note_rubbish(self, where: str, why: str, line: bytes) -> None:
        self.rubbish += 1
        if len(self.samples) < MAX_SAMPLES:
            text = line[:_SAMPLE_CHARS].decode("utf-8", "replace")
            # a log holds what strangers sent: nothing of it may steer a terminal
            shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
            self.samples.append((where, why, shown + ("..." if len(line) > _SAMPLE_CHARS else "")))


class Logs:
    """The logs of one simulation, opened. Use as a context manager; opening raises OSError."""

    def __init__(self, names: Sequence[str], read: ReadLine | str, on_progress: Callable[[int, int], None]) -> None:
        """`read`: a reader, the name of a format, or `auto`. `on_progress` gets (bytes read, lines) now and then."""
        self.stats = LogStats()
        self.sorters: list[Sorter] = []
        self._names = names
        self._read = read
        self._on_progress = on_progress
        self._open = ExitStack()
        self._files: list[_LogFile] = []

    def __enter__(self) -> Logs:
        with ExitStack() as opened:
            self._files = [_LogFile(name, opened) for name in self._names]
            self._open = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def size_bytes(self) -> int | None:
        """Of all files as they lie on the disk; None when one of them has no size, such as standard input."""
        sizes = [file.size_bytes for file in self._files]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    @property
    def late(self) -> int:
        return sum(sorter.late for sorter in self.sorters)

    @property
    def strays(self) -> int:
        return sum(sorter.strays for sorter in self.sorters)

    def entries(self) -> Iterator[Entry]:
        """All entries in the order of their time, those of several files merged. Never fails for what is in them."""
        streams = []
        for file in self._files:
            sorter = Sorter()
            self.sorters.append(sorter)
            streams.append(sorter.sort(self._of(file)))
        return streams[0] if len(streams) == 1 else merge(*streams, key=attrgetter("at_wall"))

    def _of(self, file: _LogFile) -> Iterator[Entry]:
        stats = self.stats
        first = file.first_lines()
        if isinstance(self._read, str):
            chosen = detect(first) if self._read == "auto" else self._read
            stats.formats[file.name] = chosen
            read = FORMATS[chosen]
        else:
            stats.formats[file.name] = "nginx"
            read = self._read
        for number, line in enumerate(file.lines(first), 1):
            if not line:
                continue
            stats.lines += 1
            entry: Entry | str = "longer than 64 KiB" if len(line) > MAX_LINE else read(line)
            if isinstance(entry, str):
                stats.note_rubbish(f"{file.name}:{number}", entry, line)
            else:
                yield entry
            if stats.lines % _REPORT_EVERY == 0:
                self._on_progress(sum(one.position for one in self._files), stats.lines)
        if file.problem:
            stats.note_rubbish(file.name, file.problem, b"")


class _LogFile:
    """One file, opened."""

    def __init__(self, name: str, opened: ExitStack) -> None:
        self.name = "standard input" if name == STDIN else name
        self.problem = ""
        self.size_bytes: int | None = None
        self._raw: BinaryIO | None = None
        if name == STDIN:
            stream: Any = sys.stdin.buffer
        else:
            stream = self._raw = opened.enter_context(open(name, "rb"))
            self.size_bytes = os.fstat(stream.fileno()).st_size or None
        # gzip is known by how it begins: a log that was rotated may have any name
        buffered = io.BufferedReader(stream, 1 << 17) if not hasattr(stream, "peek") else stream
        if buffered.peek(2)[:2] == _GZIP:
            unpacked = opened.enter_context(gzip.GzipFile(fileobj=buffered, mode="rb"))
            buffered = io.BufferedReader(unpacked, 1 << 17)
        self._stream: Any = buffered

    @property
    def position(self) -> int:
        """How much of the file was read, in bytes on the disk."""
        return 0 if self._raw is None else self._raw.tell()

    def first_lines(self) -> list[bytes]:
        first = []
        for line in self._read_lines():
            first.append(line)
            if len(first) >= _LOOKED_AT:
                break
        return first

    def lines(self, first: Sequence[bytes]) -> Iterator[bytes]:
        yield from first
        yield from self._read_lines()

    def _read_lines(self) -> Iterator[bytes]:
        """Lines without their ends. One without end is cut, so that no file can fill the memory."""
        readline = self._stream.readline
        try:
            while line := readline(MAX_LINE + 2):
                if line[-1:] != b"\n" and len(line) > MAX_LINE:
                    while (rest := readline(MAX_LINE)) and rest[-1:] != b"\n":
                        pass
                yield line.rstrip(b"\r\n")
        except (OSError, EOFError) as error:  # a truncated or broken gzip; what was read stays
            self.problem = f"reading stopped: {error}"


__all__ = ["STDIN", "LogStats", "Logs"]
