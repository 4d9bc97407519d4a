"""The `identity:` section: how users and tenants are known."""

from __future__ import annotations

import os
import re
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, model_validator
from pydantic.json_schema import WithJsonSchema

from proxy.core.settings import Duration, FileName, FromText, Model
from proxy.http.fields import OF_THE_HOP

__all__ = [
    "Algorithm",
    "ApiKeySettings",
    "ClientPlanSettings",
    "CookieSettings",
    "IdentitySettings",
    "JwtSettings",
    "KeySettings",
    "PlannedKeySettings",
    "SourceSettings",
    "TenantSettings",
]

MIN_SECRET_BYTES: Final = 32  # RFC 7518 §3.2 for HS256: a key of the size of the hash, or larger
_TOKEN_PATTERN: Final = "^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$"  # RFC 9110 §5.6.2
_HASH_PATTERN: Final = "^sha256:[0-9a-f]{64}$"
_ID_PATTERN: Final = "^[A-Za-z0-9_.@:-]{1,64}$"
_PLAN_PATTERN: Final = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def _check_field_name(name: str) -> str:
    if not re.fullmatch(_TOKEN_PATTERN[1:-1], name):
        raise ValueError(f"`{name[:60]}` is not the name of a field")
    if name.lower().encode() in OF_THE_HOP | {b"host"}:
        raise ValueError(f"`{name}` belongs to the connection and says nothing about a user")
    return name


def _check_cookie_name(name: str) -> str:
    if not re.fullmatch(_TOKEN_PATTERN[1:-1], name):
        raise ValueError(f"`{name[:60]}` is not the name of a cookie")
    return name


def _check_secret(secret: SecretStr) -> SecretStr:
    size = len(secret.get_secret_value().encode())
    if size < MIN_SECRET_BYTES:
        raise ValueError(f"the secret has {size} bytes and needs {MIN_SECRET_BYTES}; make one: openssl rand -hex 32")
    return secret


def _check_hash(text: str) -> str:
    text = text.lower()
    if not re.fullmatch(_HASH_PATTERN[1:-1], text):
        # Not repeated: whoever gets it wrong may have written the key itself.
        raise ValueError("this is not the hash of a key; write sha256: and the 64 digits of: printf %s KEY | sha256sum")
    return text


def _check_key_id(text: str) -> str:
    if not re.fullmatch(_ID_PATTERN[1:-1], text):
        raise ValueError("the id of a key is at most 64 letters, digits, `-`, `_`, `.`, `@` and `:`")
    return text


def _check_plan(name: str) -> str:
    if not re.fullmatch(_PLAN_PATTERN[1:-1], name):
        raise ValueError(f"`{name[:80]}` is not the name of a plan; write at most 64 letters, digits, `-`, `_` and `.`")
    return name


def _check_keys(text: str, info: ValidationInfo) -> str:
    """A URL, or a file from the folder of the file that names it."""
    if "://" not in text:
        folder = info.context.folder if isinstance(info.context, FromText) else ""
        return os.path.join(folder, text)
    url = urlsplit(text)
    if url.scheme == "https" and url.hostname:
        return text
    if url.scheme == "http" and url.hostname in _LOOPBACK:
        return text
    raise ValueError("keys over plain http can be replaced on the way; write https://..., or http:// to this machine")


FieldName = Annotated[
    str, AfterValidator(_check_field_name), WithJsonSchema({"type": "string", "pattern": _TOKEN_PATTERN})
]
"""The name of a field that may say who a user is."""

CookieName = Annotated[
    str, AfterValidator(_check_cookie_name), WithJsonSchema({"type": "string", "pattern": _TOKEN_PATTERN})
]

Secret = Annotated[SecretStr, AfterValidator(_check_secret)]
"""Never shown: not in errors, not in dumps."""

KeyHash = Annotated[str, AfterValidator(_check_hash), WithJsonSchema({"type": "string", "pattern": _HASH_PATTERN})]
PlanName = Annotated[str, AfterValidator(_check_plan), WithJsonSchema({"type": "string", "pattern": _PLAN_PATTERN})]
KeyId = Annotated[str, AfterValidator(_check_key_id), WithJsonSchema({"type": "string", "pattern": _ID_PATTERN})]
KeysText = Annotated[
    str,
    AfterValidator(_check_keys),
    WithJsonSchema({"type": "string", "examples": ["https://id.example.com/jwks.json", "keys.pem"]}),
]

Algorithm = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]


class CookieSettings(Model):
    """A cookie that the backend signs: `user.expires.signature`, as `proxy/clients/cookies.py` says in full."""

    name: CookieName = Field(description="Name of the cookie.")
    secret: Secret = Field(description="What it is signed with, at least 32 bytes.")


class PlannedKeySettings(Model):
    """A key with the plan of whoever uses it."""

    hash: KeyHash = Field(description="`sha256:` with the hash of the key's text in hex.")
    plan: PlanName | None = Field(None, description="The plan, as limits name it in `plans`.")


class ApiKeySettings(Model):
    """Keys that programs send. Only their hashes are known here; the id stands for the user."""

    header: FieldName = Field(
        "X-API-Key", description="The field that carries the key; in Authorization, after `Bearer`."
    )
    keys: dict[KeyId, KeyHash | PlannedKeySettings] = Field(
        default_factory=dict,
        description="Id of each key, and `sha256:` with the hash of its text in hex, or `{hash, plan}`.",
    )
    file: FileName | None = Field(
        None,
        description="More keys, a line `id: sha256:hex` or `id: {hash: sha256:hex, plan: pro}` for each. Read again at "
        "every reload.",
    )

    @model_validator(mode="after")
    def _check(self) -> ApiKeySettings:
        if not self.keys and self.file is None:
            raise ValueError("api_key needs `keys`, `file`, or both")
        return self


class KeySettings(Model):
    """A key that verifies tokens."""

    kid: str | None = Field(None, min_length=1, max_length=64, description="Its id, as tokens name it.")
    alg: Algorithm = Field(description="The one algorithm that it is for.")
    secret: SecretStr | None = Field(None, description="For HS256, HS384, HS512: at least as long as the hash.")
    pem: str | None = Field(None, description="For the others: the public key in PEM form.")

    @model_validator(mode="after")
    def _check(self) -> KeySettings:
        wanted, other = ("secret", "pem") if self.alg.startswith("HS") else ("pem", "secret")
        if getattr(self, wanted) is None or getattr(self, other) is not None:
            raise ValueError(f"a key for {self.alg} has `{wanted}` and no `{other}`")
        if self.secret is not None:
            size, least = len(self.secret.get_secret_value().encode()), int(self.alg[2:]) // 8
            if size < least:  # RFC 7518 §3.2
                raise ValueError(f"the secret has {size} bytes, and {self.alg} needs {least}")
        return self


class JwtSettings(Model):
    """Signed tokens (RFC 7519). What a token says about its own key and algorithm is never believed."""

    keys: KeysText | tuple[KeySettings, ...] = Field(
        description="URL of a key set, a file (key set or PEM), or the keys themselves."
    )
    issuer: str | None = Field(None, min_length=1, description="Required value of `iss`.")
    audience: Annotated[str, Field(min_length=1)] | tuple[Annotated[str, Field(min_length=1)], ...] | None = Field(
        None, description="Values of `aud` that are accepted; a token must have one of them."
    )
    claim: str = Field("sub", min_length=1, max_length=128, description="The claim that names the user.")
    algorithms: tuple[Algorithm, ...] | None = Field(
        None, min_length=1, description="Algorithms that are accepted. Default: those that each key is for."
    )
    leeway: Duration = Field(30.0, le=300, description="How far the clocks may be apart.")
    header: FieldName | None = Field(
        None, description="The field that carries the token, after `Bearer` in Authorization. Default: Authorization."
    )
    cookie: CookieName | None = Field(None, description="The cookie that carries the token, instead of a field.")

    @model_validator(mode="after")
    def _check(self) -> JwtSettings:
        if self.header is not None and self.cookie is not None:
            raise ValueError("a token is in a `header` or in a `cookie`, not in both")
        if not self.keys:
            raise ValueError("jwt needs at least one key")
        if self.is_remote and any(name.startswith("HS") for name in self.algorithms or ()):
            raise ValueError("whoever can read the keys of a URL could sign with HS algorithms; leave them out")
        return self

    @property
    def is_remote(self) -> bool:
        """Whether the keys come over the network."""
        return isinstance(self.keys, str) and "://" in self.keys

    @property
    def audiences(self) -> frozenset[str]:
        if self.audience is None:
            return frozenset()
        return frozenset({self.audience} if isinstance(self.audience, str) else self.audience)


class SourceSettings(Model):
    """One way to know a user: exactly one of these."""

    header: FieldName | None = Field(
        None, description="A field with the user's name. Believed from trusted proxies only, and removed from others."
    )
    cookie: CookieSettings | None = Field(None, description="A signed cookie.")
    api_key: ApiKeySettings | None = Field(None, description="An API key.")
    jwt: JwtSettings | None = Field(None, description="A signed token.")

    @model_validator(mode="after")
    def _check(self) -> SourceSettings:
        if sum(getattr(self, name) is not None for name in ("header", "cookie", "api_key", "jwt")) != 1:
            raise ValueError("a source of users is one of `header`, `cookie`, `api_key` and `jwt`")
        return self


class TenantSettings(Model):
    """What a user belongs to."""

    header: FieldName | None = Field(
        None, description="A field with the tenant. Believed from trusted proxies only, and removed from others."
    )
    claim: str | None = Field(None, min_length=1, max_length=128, description="A claim of the verified token.")

    @model_validator(mode="after")
    def _check(self) -> TenantSettings:
        if (self.header is None) == (self.claim is None):
            raise ValueError("a tenant comes from a `header` or from a `claim`: write one of them")
        return self


class ClientPlanSettings(Model):
    """Which plan a client has. API keys may have theirs beside their hash."""

    header: FieldName | None = Field(
        None, description="A field with the plan. Believed from trusted proxies only, and removed from others."
    )
    claim: str | None = Field(None, min_length=1, max_length=128, description="A claim of the verified token.")

    @model_validator(mode="after")
    def _check(self) -> ClientPlanSettings:
        if (self.header is None) == (self.claim is None):
            raise ValueError("a plan comes from a `header` or from a `claim`: write one of them")
        return self


class IdentitySettings(Model):
    """How users and tenants are known. The first source whose credentials a request carries decides."""

    user: SourceSettings | tuple[SourceSettings, ...] = Field(
        (), description="Where users come from: a source, or a list of them in order."
    )
    tenant: TenantSettings | None = Field(None, description="Where tenants come from.")
    plan: ClientPlanSettings | None = Field(None, description="Where plans come from, besides the table of API keys.")

    @model_validator(mode="after")
    def _check(self) -> IdentitySettings:
        for name, settings in (("tenant", self.tenant), ("plan", self.plan)):
            if settings is not None and settings.claim is not None:
                if not any(source.jwt is not None for source in self.sources):
                    raise ValueError(f"a {name} from a `claim` needs a user from a `jwt`")
        return self

    @property
    def may_know_plans(self) -> bool:
        """Whether any client can have a plan. A file of API keys may name plans; it is not read here."""
        keys = [source.api_key for source in self.sources if source.api_key is not None]
        return self.plan is not None or any(
            key.file is not None or any(isinstance(one, PlannedKeySettings) and one.plan for one in key.keys.values())
            for key in keys
        )

    @property
    def sources(self) -> tuple[SourceSettings, ...]:
        return self.user if isinstance(self.user, tuple) else (self.user,)
