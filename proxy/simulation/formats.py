"""Which format a log is in: by its name, or by its first lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from proxy.simulation.caddy import read_caddy
from proxy.simulation.combined import read_combined
from proxy.simulation.entry import ReadLine
from proxy.simulation.weir_lines import read_weir

FORMATS: Final[dict[str, ReadLine]] = {"combined": read_combined, "weir": read_weir, "caddy": read_caddy}
"""What needs no more than its name; nginx's own formats are made by `nginx.nginx_reader`."""


def detect(lines: Sequence[bytes]) -> str:
    """The format that reads the most of these lines; `combined` when none reads any."""
    counts = {name: sum(not isinstance(read(line), str) for line in lines) for name, read in FORMATS.items()}
    return max(counts, key=counts.__getitem__)
