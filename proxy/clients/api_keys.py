"""API keys: a table of hashes. The keys themselves are in no file, no memory and no log of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from hmac import compare_digest
from typing import Final

from proxy.clients.client import Finding
from proxy.core.errors import ErrorKind
from proxy.http.message import Request

_MAX_FILE_BYTES: Final = 16 * 1024 * 1024
_HASH: Final = r"\"?sha256:(?P<{}>[0-9a-fA-F]{{64}})\"?"
_LINE: Final = re.compile(
    rf"(?P<id>[A-Za-z0-9_.@:-]{{1,64}}): *({_HASH.format('hash')}"
    rf"|\{{ *hash: *{_HASH.format('planned')} *, *plan: *(?P<plan>[A-Za-z0-9][A-Za-z0-9_.-]{{0,63}}) *\}})"
)
Key = tuple[str, str | None]
"""`sha256:hex` and the plan of whoever uses the key."""

_UNKNOWN: Final = Finding("api_key", error=ErrorKind.UNAUTHENTICATED, fault="unknown_key")


class ApiKeySource:
    """Knows users by API keys."""

    __slots__ = ("_after_scheme", "_by_digest", "_nobody", "field")

    via = "api_key"

    def __init__(self, header: str, keys: Mapping[str, Key]) -> None:
        """Raises ValueError when two ids have one key."""
        self.field = header.lower().encode("ascii")
        self._after_scheme = self.field == b"authorization"
        self._by_digest: dict[bytes, tuple[bytes, Finding]] = {}
        self._nobody = (bytes(32), _UNKNOWN)  # an unknown key takes the path of a known one
        for name, (text, plan) in keys.items():
            digest = bytes.fromhex(text.removeprefix("sha256:"))
            if digest in self._by_digest:
                raise ValueError(f"the API keys `{self._by_digest[digest][1].user}` and `{name}` are the same key")
            self._by_digest[digest] = digest, Finding("api_key", name, api_key=name, plan=plan)

    def find(self, request: Request, now_wall: float) -> Finding | None:
        """Whose key the request carries; None when it carries none."""
        key = request.index.get(self.field)
        if key is None:
            return None
        if self._after_scheme:
            if key[:7].lower() != b"bearer ":
                return None
            key = key[7:].strip(b" ")
        # The table is indexed by the hash of what came, which an attacker cannot steer towards the hash of a key
        # octet by octet; the comparison over all octets is for those who would rather not rely on that.
        digest = sha256(key).digest()
        known, finding = self._by_digest.get(digest, self._nobody)
        return finding if compare_digest(known, digest) else _UNKNOWN

    def __len__(self) -> int:
        return len(self._by_digest)


def read_key_file(path: str) -> dict[str, Key]:
    """Keys by id, from lines `id: sha256:hex` or `id: {hash: sha256:hex, plan: pro}`. Raises ValueError.

    Empty lines and `#` lines are skipped.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
        text = data.decode("utf-8")
    except OSError as error:
        raise ValueError(f"cannot read the API keys in `{path}`: {(error.strerror or 'error').lower()}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"`{path}` is not text") from error
    if len(data) > _MAX_FILE_BYTES:
        raise ValueError(f"`{path}` is larger than {_MAX_FILE_BYTES} bytes")
    keys: dict[str, Key] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line[0] == "#":
            continue
        match = _LINE.fullmatch(line)
        if match is None:  # the line is not repeated: it may hold a key
            raise ValueError(f"line {number} of `{path}` is not `id: sha256:` with 64 hexadecimal digits")
        if match["id"] in keys:
            raise ValueError(f"line {number} of `{path}` has the id `{match['id']}` for the second time")
        keys[match["id"]] = "sha256:" + (match["hash"] or match["planned"]).lower(), match["plan"]
    return keys
