"""Which outcomes count: `status in (401, 403)`, `status in (4xx)`, `status not in (2xx, 304)`."""

from __future__ import annotations

import re
from typing import Final

PATTERN: Final = r"^status (not )?in \( ?[1-5](xx|[0-9]{2})( ?, ?[1-5](xx|[0-9]{2}))* ?\)$"
_FORM: Final = "write status in (401, 403), status in (4xx) or status not in (2xx)"
_CONDITION: Final = re.compile(r"\s*status\s+(?P<without>not\s+)?in\s*\(\s*(?P<list>[^()]*?)\s*\)\s*")
_STATUS: Final = re.compile(r"[1-5][0-9]{2}")
_CLASS: Final = re.compile(r"[1-5]xx")


def parse_count_if(text: str) -> frozenset[int]:
    """Every status that counts. Raises ValueError with one sentence."""
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ValueError(f"`{text[:80]}` is no condition on the outcome; {_FORM}")
    statuses: set[int] = set()
    for word in re.split(r"\s*,\s*", match["list"]):
        if _STATUS.fullmatch(word):
            statuses.add(int(word))
        elif _CLASS.fullmatch(word):
            statuses.update(range(int(word[0]) * 100, int(word[0]) * 100 + 100))
        else:
            raise ValueError(f"`{word[:40]}` is no status; {_FORM}")
    if match["without"]:
        return _ALL - statuses
    return frozenset(statuses)


_ALL: Final = frozenset(range(100, 600))
