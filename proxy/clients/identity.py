"""Identity: all the ways to be known that are configured, compiled and in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from proxy.clients.api_keys import ApiKeySource, Key, read_key_file
from proxy.clients.client import Client, Finding
from proxy.clients.cookies import CookieSource
from proxy.clients.jwt import JwtSource, TokenRules
from proxy.clients.keys import MAX_KEYS_BYTES, KeySet, key_from_settings, read_keys
from proxy.clients.names import user_name
from proxy.clients.settings import ApiKeySettings, IdentitySettings, JwtSettings, SourceSettings
from proxy.core.errors import ErrorKind
from proxy.http.message import Request

Claims = tuple[str | None, str | None]
"""The claims of a token that name the tenant and the plan."""

_BAD_NAME: Final = Finding("header", error=ErrorKind.UNAUTHENTICATED, fault="malformed")


class Source(Protocol):
    """One way to be known."""

    @property
    def via(self) -> str: ...

    @property
    def field(self) -> bytes:
        """The lower-case name of the one field that it reads."""

    def find(self, request: Request, now_wall: float) -> Finding | None:
        """What the request's credentials say; None when it carries none of this kind. Never waits."""


class HeaderSource:
    """Knows users by a field that a trusted proxy sets. Whether the peer is one is looked at before."""

    __slots__ = ("field",)

    via = "header"

    def __init__(self, header: str) -> None:
        self.field = header.lower().encode("ascii")

    def find(self, request: Request, now_wall: float) -> Finding | None:
        value = request.index.get(self.field)
        if not value:
            return None
        name = trusted_name(request, self.field, value)
        return _BAD_NAME if name is None else Finding("header", name)


class Identity:
    """Says who asks. Compiled once for a configuration; what it remembers is bounded."""

    __slots__ = (
        "_only_field",
        "_plan_field",
        "_sources",
        "_tenant_field",
        "_trusted_sources",
        "is_active",
        "key_sets",
        "private_fields",
    )

    def __init__(
        self,
        sources: Sequence[Source] = (),
        *,
        tenant_header: str | None = None,
        plan_header: str | None = None,
        key_sets: Sequence[KeySet] = (),
    ) -> None:
        self._trusted_sources = tuple(sources)
        self._sources = tuple(source for source in sources if source.via != "header")
        self._tenant_field = None if tenant_header is None else tenant_header.lower().encode("ascii")
        self._plan_field = None if plan_header is None else plan_header.lower().encode("ascii")
        self._only_field = self._sources[0].field if len(self._sources) == 1 else None
        self.is_active = bool(sources) or tenant_header is not None or plan_header is not None
        self.key_sets = tuple(key_sets)  # those that come over the network
        private = {source.field for source in sources if source.via == "header"}
        private |= {name for name in (self._tenant_field, self._plan_field) if name is not None}
        self.private_fields = frozenset(private)  # lower-case names; forwarded only from trusted peers

    @property
    def needs_jwks(self) -> bool:
        """Whether somebody (jwks.Jwks) has to fetch keys."""
        return bool(self.key_sets)

    @property
    def has_sources(self) -> bool:
        """Whether a request can have a user at all."""
        return bool(self._trusted_sources)

    def client_of(self, base: Client, request: Request, is_trusted: bool, now_wall: float) -> Client:
        """`base` with its user, tenant and plan, or `base` itself when the request says nothing of them. Never waits.

        The last answer is kept on the client of an untrusted connection: one party is at its other end, so comparing
        credentials octet by octet tells nobody anything. A trusted proxy speaks for many, and has no such memory.
        """
        if is_trusted:
            return self._search(self._trusted_sources, base, request, now_wall, is_trusted=True)
        if self._only_field is None:
            return self._search(self._sources, base, request, now_wall, is_trusted=False)
        credential = request.index.get(self._only_field)
        if credential is None:
            return base
        memo = base.memo
        if memo is not None and memo[1] == credential and memo[0] is self and now_wall < memo[2]:
            return memo[3]
        finding = self._sources[0].find(request, now_wall)
        if finding is None:
            return base
        client = base.known_as(finding, finding.tenant, finding.plan)
        base.memo = self, credential, finding.until_wall, client
        return client

    def _search(
        self, sources: tuple[Source, ...], base: Client, request: Request, now_wall: float, *, is_trusted: bool
    ) -> Client:
        """The first source whose credentials are there decides, also when they are wrong."""
        tenant = plan = None
        if is_trusted:
            tenant = _said(request, self._tenant_field)
            plan = _said(request, self._plan_field)
        for source in sources:
            finding = source.find(request, now_wall)
            if finding is not None:
                return base.known_as(finding, tenant or finding.tenant, plan or finding.plan)
        return base if tenant is plan is None else base.known_as(Finding(""), tenant, plan)

    def status(self) -> dict[str, Any]:
        """For the operator: sources, the state of fetched keys, and why tokens were refused. No secrets."""
        faults: dict[str, int] = {}
        for source in self._trusted_sources:
            if isinstance(source, JwtSource):
                for fault, count in source.faults.items():
                    faults[fault] = faults.get(fault, 0) + count
        return {
            "sources": [source.via for source in self._trusted_sources],
            "key_sets": [
                {
                    "url": keys.url,
                    "keys": len(keys),
                    "fetched_at_wall": keys.fetched_at_wall or None,
                    "problem": keys.problem or None,
                }
                for keys in self.key_sets
            ],
            "refused_tokens": faults,
        }


def _said(request: Request, field: bytes | None) -> str | None:
    """The name that a trusted proxy says in a field."""
    if field is None or not (value := request.index.get(field)):
        return None
    return trusted_name(request, field, value)


def trusted_name(request: Request, field: bytes, value: bytes) -> str | None:
    """The name in a field of a trusted proxy. None when the field stands twice: one of them is the client's own."""
    if b"," in value and sum(lower == field for lower, _, _ in request.fields) > 1:
        return None
    return user_name(value)


def compile_identity(settings: IdentitySettings | None, previous: Identity | None = None) -> Identity:
    """Read the files and build the sources. Keys that `previous` has fetched are kept for the same URL.

    Raises ValueError with one sentence.
    """
    if settings is None:
        return Identity()
    key_sets = {keys.url: keys for keys in (previous.key_sets if previous is not None else ())}
    used: dict[str, KeySet] = {}
    tenant, plan = settings.tenant, settings.plan
    claims = tenant.claim if tenant is not None else None, plan.claim if plan is not None else None
    return Identity(
        [_compile_source(source, claims, key_sets, used) for source in settings.sources],
        tenant_header=tenant.header if tenant is not None else None,
        plan_header=plan.header if plan is not None else None,
        key_sets=tuple(used.values()),
    )


def _compile_source(
    settings: SourceSettings, claims: Claims, fetched: dict[str, KeySet], used: dict[str, KeySet]
) -> Source:
    if settings.header is not None:
        return HeaderSource(settings.header)
    if settings.cookie is not None:
        return CookieSource(settings.cookie.name, settings.cookie.secret.get_secret_value())
    if settings.api_key is not None:
        return ApiKeySource(settings.api_key.header, _all_keys(settings.api_key))
    assert settings.jwt is not None
    return _compile_jwt(settings.jwt, claims, fetched, used)


def _compile_jwt(
    settings: JwtSettings, claims: Claims, fetched: dict[str, KeySet], used: dict[str, KeySet]
) -> JwtSource:
    if not isinstance(settings.keys, str):
        keys = KeySet(key_from_settings(key) for key in settings.keys)
    elif settings.is_remote:
        known = fetched.get(settings.keys)  # may be empty still: its first fetch is under way
        keys = used.setdefault(settings.keys, KeySet(url=settings.keys) if known is None else known)
    else:
        keys = KeySet(_read_key_set(settings.keys))
    algorithms = frozenset(settings.algorithms) if settings.algorithms is not None else None
    return JwtSource(
        TokenRules(keys, algorithms, settings.issuer, settings.audiences, settings.leeway),
        claim=settings.claim,
        tenant_claim=claims[0],
        plan_claim=claims[1],
        header=settings.header or "Authorization",
        cookie=settings.cookie,
    )


def _read_key_set(path: str) -> Any:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_KEYS_BYTES + 1)
    except OSError as error:
        raise ValueError(f"cannot read the keys in `{path}`: {(error.strerror or 'error').lower()}") from error
    try:
        return read_keys(data, may_hold_secrets=True)[0]
    except ValueError as error:
        raise ValueError(f"cannot use `{path}` as keys: {error}") from error


def _all_keys(settings: ApiKeySettings) -> dict[str, Key]:
    written: dict[str, Key] = {
        name: (key, None) if isinstance(key, str) else (key.hash, key.plan) for name, key in settings.keys.items()
    }
    if settings.file is None:
        return written
    keys = read_key_file(settings.file)
    twice = keys.keys() & written.keys()
    if twice:
        raise ValueError(f"the API key `{min(twice)}` stands in `keys` and in `{settings.file}`")
    return {**keys, **written}
