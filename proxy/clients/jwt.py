"""Signed tokens (RFC 7519): verified here, remembered for a minute.

PyJWT brings the signatures; which algorithm a key is for, what a header may hold and what the claims must say is
decided by us, because time has to come in as an argument and because a library must stay lenient where a door need not.
"""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from typing import Any, Final

from proxy.clients.client import Finding
from proxy.clients.cookies import cookie_values
from proxy.clients.keys import KeySet
from proxy.clients.names import user_name
from proxy.clients.recent import Recent
from proxy.clients.tokens import MAX_TOKEN_BYTES, Token, TokenFault, read_object, read_token
from proxy.core.errors import ErrorKind
from proxy.http.message import Request

REMEMBERED_S: Final = 60.0  # a key that was withdrawn is believed no longer than this
_REMEMBERED: Final = 4096
_MOST_TRIED = 8  # keys for a token that names none
_LATEST = float(1 << 53)  # seconds; larger ones are no instants
# Refused now, but maybe not in a moment: the key may be on its way, the clock may move.
_PASSING: Final = frozenset({TokenFault.UNKNOWN_KEY, TokenFault.NOT_YET_VALID})


class TokenRules:
    """What a token must fulfil."""

    __slots__ = ("algorithms", "audiences", "issuer", "keys", "leeway_s")

    def __init__(
        self,
        keys: KeySet,
        algorithms: frozenset[str] | None = None,
        issuer: str | None = None,
        audiences: frozenset[str] = frozenset(),
        leeway_s: float = 30.0,
    ) -> None:
        self.keys = keys
        self.algorithms = algorithms  # None: those of the key
        self.issuer = issuer
        self.audiences = audiences  # empty: not looked at
        self.leeway_s = leeway_s


def verify_token(text: bytes, rules: TokenRules, now_wall: float) -> dict[str, Any] | TokenFault:
    """The claims of a token that fulfils the rules, else the first fault. Never raises.

    The signature comes before the claims, so that nobody learns from answers what a forged token should say.
    """
    token = read_token(text)
    if isinstance(token, TokenFault):
        return token
    fault = _check_signature(token, rules)
    if fault is not None:
        return fault
    claims = read_object(token.claims_bytes)
    if claims is None:
        return TokenFault.CLAIMS
    return _check_claims(claims, rules, now_wall) or claims


class JwtSource:
    """Knows users, their tenants and plans, by signed tokens."""

    __slots__ = (
        "_bad",
        "_claim",
        "_cookie",
        "_generation",
        "_good",
        "_plan_claim",
        "_tenant_claim",
        "faults",
        "field",
        "rules",
    )

    via = "jwt"

    def __init__(
        self,
        rules: TokenRules,
        *,
        claim: str = "sub",
        tenant_claim: str | None = None,
        plan_claim: str | None = None,
        header: str = "Authorization",
        cookie: str | None = None,
    ) -> None:
        self.rules = rules
        self.field = b"cookie" if cookie is not None else header.lower().encode("ascii")
        self.faults: Counter[str] = Counter()
        self._cookie = None if cookie is None else cookie.encode("ascii")
        self._claim = claim
        self._tenant_claim = tenant_claim
        self._plan_claim = plan_claim
        # Two memories, by the SHA-256 of the token: a flood of forged ones must not push out those of users.
        self._good: Recent[bytes, Finding] = Recent(_REMEMBERED)
        self._bad: Recent[bytes, Finding] = Recent(_REMEMBERED)
        self._generation = rules.keys.generation

    def find(self, request: Request, now_wall: float) -> Finding | None:
        """Whom the token names; None when the request carries none. Never waits: unknown keys are fetched later."""
        if self._cookie is not None:
            values = cookie_values(request, self._cookie)
            if not values:
                return None
            text = values[0] if len(values) == 1 else b""
        else:
            value = request.index.get(self.field)
            if value is None:
                return None
            if value[:7].lower() == b"bearer ":  # RFC 9110 §11.1: schemes are case-insensitive
                text = value[7:].strip(b" ")
            elif self.field == b"authorization":
                return None  # another scheme is for the backend
            else:
                text = value
        if self._generation != self.rules.keys.generation:
            self._generation = self.rules.keys.generation
            self._good.clear()
            self._bad.clear()
        if len(text) > MAX_TOKEN_BYTES:
            return self._refused(TokenFault.TOO_LONG, now_wall)
        digest = sha256(text).digest()
        finding = self._good.get(digest) or self._bad.get(digest)
        if finding is None or now_wall >= finding.until_wall:
            finding = self._verified(text, digest, now_wall)
        return finding

    def _verified(self, text: bytes, digest: bytes, now_wall: float) -> Finding:
        claims = verify_token(text, self.rules, now_wall)
        if isinstance(claims, TokenFault):
            return self._refused(claims, now_wall, digest)
        user = user_name(claims.get(self._claim))
        if user is None:
            return self._refused(TokenFault.USER, now_wall, digest)
        tenant = None if self._tenant_claim is None else user_name(claims.get(self._tenant_claim))
        plan = None if self._plan_claim is None else user_name(claims.get(self._plan_claim))
        until_wall = min(claims["exp"] + self.rules.leeway_s, now_wall + REMEMBERED_S)
        finding = Finding("jwt", user, tenant=tenant, plan=plan, until_wall=until_wall)
        self._good.put(digest, finding)
        return finding

    def _refused(self, fault: TokenFault, now_wall: float, digest: bytes = b"") -> Finding:
        self.faults[fault.value] += 1
        if fault is TokenFault.UNKNOWN_KEY:
            self.rules.keys.unknown()
        until_wall = now_wall if fault in _PASSING else now_wall + REMEMBERED_S
        finding = Finding("jwt", error=ErrorKind.UNAUTHENTICATED, fault=fault.value, until_wall=until_wall)
        if digest and fault not in _PASSING:
            self._bad.put(digest, finding)
        return finding


def _check_signature(token: Token, rules: TokenRules) -> TokenFault | None:
    algorithm = token.algorithm
    if rules.algorithms is not None and algorithm not in rules.algorithms:
        return TokenFault.ALGORITHM
    is_known = rules.keys.knows(token.kid)
    keys = rules.keys.candidates(token.kid)
    if not keys:
        return TokenFault.UNKNOWN_KEY
    fitting = [key for key in keys if algorithm in key.algorithms]
    if not fitting:
        return TokenFault.ALGORITHM if is_known else TokenFault.UNKNOWN_KEY
    for key in fitting[:_MOST_TRIED]:
        if key.verifies(algorithm, token.signed, token.signature):
            return None
    return TokenFault.SIGNATURE if is_known else TokenFault.UNKNOWN_KEY


def _check_claims(claims: dict[str, Any], rules: TokenRules, now_wall: float) -> TokenFault | None:
    expires: Any = claims.get("exp")
    if not _is_instant(expires):  # required here, though RFC 7519 §4.1.4 leaves it open
        return TokenFault.CLAIMS
    if now_wall >= expires + rules.leeway_s:
        return TokenFault.EXPIRED
    for name in ("nbf", "iat"):  # a token from the future was made by a wrong clock, or to outlive its keys
        if name in claims:
            start: Any = claims[name]
            if not _is_instant(start):
                return TokenFault.CLAIMS
            if now_wall + rules.leeway_s < start:
                return TokenFault.NOT_YET_VALID
    if rules.issuer is not None and claims.get("iss") != rules.issuer:
        return TokenFault.ISSUER
    if rules.audiences and not _names_one_of(claims.get("aud"), rules.audiences):
        return TokenFault.AUDIENCE
    return None


def _is_instant(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _LATEST


def _names_one_of(audience: Any, wanted: frozenset[str]) -> bool:
    """RFC 7519 §4.1.3: one text or a list of texts."""
    if isinstance(audience, str):
        return audience in wanted
    if not isinstance(audience, list) or not all(isinstance(item, str) for item in audience):
        return False
    return not wanted.isdisjoint(audience)
