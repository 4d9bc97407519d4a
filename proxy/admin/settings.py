"""The `operator:` section: who may use /v1/ of the admin listener."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field
from pydantic.json_schema import WithJsonSchema

from proxy.core.settings import Model

__all__ = ["OperatorSettings"]

_HASH_PATTERN: Final = "^(sha256:)?[0-9a-f]{64}$"
_NAME_PATTERN: Final = "^[A-Za-z0-9_.@:-]{1,64}$"


def _check_hash(text: str) -> str:
    text = text.lower()
    if not re.fullmatch(_HASH_PATTERN[1:-1], text):
        # Not repeated: whoever gets it wrong may have written the token itself.
        raise ValueError(
            "this is not the hash of a token; run `weir keys token`, which makes a token and prints its hash, or write "
            "sha256: and the 64 digits of: printf %s TOKEN | sha256sum"
        )
    if text.removeprefix("sha256:") == _OF_NOTHING:
        raise ValueError("this is the hash of an empty token; run `weir keys token`, which makes one and its hash")
    return text.removeprefix("sha256:")


def _check_name(text: str) -> str:
    if not re.fullmatch(_NAME_PATTERN[1:-1], text):
        raise ValueError("the name of a token is at most 64 letters, digits, `-`, `_`, `.`, `@` and `:`")
    return text


_OF_NOTHING: Final = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

TokenHash = Annotated[str, AfterValidator(_check_hash), WithJsonSchema({"type": "string", "pattern": _HASH_PATTERN})]
TokenName = Annotated[str, AfterValidator(_check_name), WithJsonSchema({"type": "string", "pattern": _NAME_PATTERN})]


class OperatorSettings(Model):
    """The operator's API under /v1/ of the admin listener. Only hashes of tokens are known here."""

    tokens: dict[TokenName, TokenHash] = Field(
        default_factory=dict,
        description="Name of each token, which is what the audit trail says, and `sha256:` with the hash of its text "
        "in hex. `weir keys token` makes both. Without any, /v1/ is closed.",
    )
