"""The Lua that decides in the store, put together once: the algorithms, then what uses them."""

from __future__ import annotations

from hashlib import sha1
from pathlib import Path
from typing import Final

_FOLDER: Final = Path(__file__).parent / "lua"


def _source(*names: str) -> str:
    return "\n".join([(_FOLDER / f"{name}.lua").read_text(encoding="utf-8") for name in names])


ALGORITHMS: Final = _source("gcra", "fixed", "sliding")
DECIDE: Final = (ALGORITHMS + "\n" + _source("decide")).encode("ascii")
DECIDE_SHA: Final = sha1(DECIDE, usedforsecurity=False).hexdigest().encode("ascii")  # the store's name for it
