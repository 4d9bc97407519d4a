"""Who asks: the bearer token of a request (RFC 6750 §2.1) against the hashes in the configuration.

A browser sends no such field by itself, so no page of another origin can use the API through an operator's browser.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from hmac import compare_digest
from typing import Final

_LONGEST: Final = 512  # characters of the field


def name_of(authorization: str | None, hashes: Mapping[str, str]) -> str | None:
    """The name of the token in an Authorization field, or None. Takes as long whichever it is, and if it is none.

    `hashes` has the SHA-256 of each token, in lower-case hex, by its name.
    """
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or len(token) > _LONGEST:
        token = ""
    token = token.strip()
    digest = sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
    found = None
    for name, known in hashes.items():
        if compare_digest(digest, known):
            found = name
    return found if token else None
