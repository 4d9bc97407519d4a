"""Where Weir listens: `127.0.0.1:8080`, `[::]:8080`, `unix:/run/weir.sock`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

__all__ = ["Address", "parse_address"]

_HOST_PORT: Final = re.compile(
    r"(?:\[(?P<literal>[0-9A-Fa-f:.%a-z]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})"
)
_HINT: Final = "write 127.0.0.1:8080, [::]:8080 or unix:/run/weir.sock"


@dataclass(frozen=True, slots=True)
class Address:
    """Either a unix socket (`path` is set) or a host and a port."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Raises ValueError. Port 0 is accepted: the system chooses a free one."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/") or len(path.encode()) > 103:  # sun_path holds 104 bytes on macOS, 108 on Linux
            raise ValueError(f"`{text}` is not a usable unix socket; write an absolute path of at most 103 bytes")
        return Address(path=path)
    match = _HOST_PORT.fullmatch(text)
    if match is None:
        raise ValueError(f"`{text}` is not an address; {_HINT}")
    port = int(match["port"])
    if port > 65535:
        raise ValueError(f"`{port}` is not a port; write 0 to 65535")
    host = match["literal"] or match["host"]
    if match["literal"] is not None:
        _require_ipv6(host, text)
    return Address(host, port)


def _require_ipv6(host: str, text: str) -> None:
    try:
        if ip_address(host).version == 6:
            return
    except ValueError:
        pass
    raise ValueError(f"`{text}` is not an address; {_HINT}")
