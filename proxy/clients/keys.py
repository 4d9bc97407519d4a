"""Keys that verify tokens: what each may be used for is decided here, before any token is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from jwt import PyJWTError
from jwt.algorithms import Algorithm, get_default_algorithms

from proxy.clients.settings import KeySettings
from proxy.clients.tokens import MAX_KID, read_object

MAX_KEYS: Final = 100
MAX_KEYS_BYTES: Final = 64 * 1024
_MIN_RSA_BITS, _MAX_RSA_BITS = 2048, 8192  # NIST SP 800-131A; above, one signature costs milliseconds
_FAMILIES: Final[dict[str, frozenset[str]]] = {  # by (kty, crv); RFC 7518 §3.1, RFC 8037 §3.1
    "RSA": frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
    "EC P-256": frozenset({"ES256"}),
    "EC P-384": frozenset({"ES384"}),
    "EC P-521": frozenset({"ES512"}),
    "OKP Ed25519": frozenset({"EdDSA"}),
    "OKP Ed448": frozenset({"EdDSA"}),
}
_SECRET: Final = frozenset({"HS256", "HS384", "HS512"})
_ALL: Final = _SECRET.union(*_FAMILIES.values())
_ALGORITHMS: Final[dict[str, Algorithm]] = {
    name: algorithm for name, algorithm in get_default_algorithms().items() if name in _ALL
}


class VerificationKey:
    """A key and the algorithms that it is for. A secret is never for RS256, a public key never for HS256."""

    __slots__ = ("_key", "algorithms", "kid")

    def __init__(self, kid: str | None, algorithms: frozenset[str], key: Any) -> None:
        self.kid = kid
        self.algorithms = algorithms
        self._key = key

    def verifies(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
        """Whether `signature` is this key's over `signed`. 2 to 150 microseconds, by algorithm."""
        return algorithm in self.algorithms and _ALGORITHMS[algorithm].verify(signed, self._key, signature)

    def __repr__(self) -> str:
        return f"VerificationKey({self.kid!r}, {'/'.join(sorted(self.algorithms))})"


class KeySet:
    """The keys of one source of tokens. The keys of a URL change while it is in use; `generation` counts that."""

    __slots__ = ("_all", "_by_kid", "_without_kid", "fetched_at_wall", "generation", "on_unknown", "problem", "url")

    def __init__(self, keys: Iterable[VerificationKey] = (), url: str = "") -> None:
        self.url = url  # empty for keys that do not change
        self.generation = 0
        self.fetched_at_wall = 0.0
        self.problem = ""  # why the last fetch failed
        self.on_unknown: Callable[[], None] | None = None  # a token names a key that is not here
        self.replace(keys)

    def replace(self, keys: Iterable[VerificationKey]) -> None:
        """Use these keys and no others from now on. Answers of an earlier generation are forgotten."""
        self._all = tuple(keys)
        self._without_kid = tuple(key for key in self._all if key.kid is None)
        self._by_kid: dict[str, tuple[VerificationKey, ...]] = {}
        for key in self._all:
            if key.kid is not None:
                self._by_kid[key.kid] = (*self._by_kid.get(key.kid, ()), key)
        self.generation += 1

    def candidates(self, kid: str | None) -> tuple[VerificationKey, ...]:
        """The keys that a token may be signed with. A `kid` is a key into a dict and nothing else."""
        return self._all if kid is None else self._by_kid.get(kid, self._without_kid)

    def knows(self, kid: str | None) -> bool:
        return kid is None or kid in self._by_kid

    def unknown(self) -> None:
        """A token names a key that is not here: fetch again, if anybody does that. Returns at once."""
        if self.on_unknown is not None:
            self.on_unknown()

    def __len__(self) -> int:
        return len(self._all)


def key_from_settings(settings: KeySettings) -> VerificationKey:
    """An inline key. Raises ValueError."""
    if settings.secret is not None:
        material = settings.secret.get_secret_value().encode()
        return VerificationKey(settings.kid, frozenset({settings.alg}), _prepared(settings.alg, material, "secret"))
    return _key_from_pem((settings.pem or "").encode(), settings.kid, settings.alg)


def read_keys(data: bytes, *, may_hold_secrets: bool) -> tuple[list[VerificationKey], list[str]]:
    """The usable keys of a key set (RFC 7517 §5), one key of that form, or a PEM; and why others are left out.

    Raises ValueError when not even one is usable.
    """
    if len(data) > MAX_KEYS_BYTES:
        raise ValueError(f"it is larger than {MAX_KEYS_BYTES} bytes")
    if data.lstrip()[:10] == b"-----BEGIN":
        return [_key_from_pem(data, None, None)], []
    document = read_object(data)
    if document is None:
        raise ValueError("it is not a JSON object and not a PEM")
    items = document.get("keys") if "keys" in document else [document]
    if not isinstance(items, list) or len(items) > MAX_KEYS:
        raise ValueError(f"`keys` is not a list of at most {MAX_KEYS} keys")
    keys, left_out = [], []
    for number, item in enumerate(items):
        try:
            keys.append(_key_from_jwk(item, may_hold_secrets))
        except ValueError as error:
            left_out.append(f"key {number}: {error}")
    if not keys:
        raise ValueError("it has no usable key" + (f" ({left_out[0]})" if left_out else ""))
    return keys, left_out


def _key_from_jwk(item: Any, may_hold_secrets: bool) -> VerificationKey:
    if not isinstance(item, dict):
        raise ValueError("it is not an object")
    kind, kid, algorithm = item.get("kty"), item.get("kid"), item.get("alg")
    # PyJWT looks at none of use, key_ops and alg: a key for encryption would verify signatures
    if item.get("use", "sig") != "sig":
        raise ValueError("it is not for signatures (use)")
    operations = item.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise ValueError("it is not for verifying (key_ops)")
    if "kid" in item and (not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID):
        raise ValueError(f"its kid is not text of at most {MAX_KID} characters")
    if kind == "oct":
        if not may_hold_secrets:
            raise ValueError("it is a secret, and secrets do not come from a URL")
        family = _SECRET
    else:
        if "d" in item:
            raise ValueError("it is a private key")
        curve = item.get("crv")
        family = _FAMILIES.get(f"{kind} {curve}" if kind != "RSA" else "RSA", frozenset())
    if not family:
        raise ValueError("its type or curve is not supported")
    if "alg" in item and not (isinstance(algorithm, str) and algorithm in family):
        raise ValueError("its algorithm is not supported, or not one for its type")
    algorithms = family if algorithm is None else frozenset({algorithm})
    name = min(algorithms)
    try:
        key = type(_ALGORITHMS[name]).from_jwk(item)
    except (PyJWTError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError("its numbers are not those of a key") from error
    if kind == "oct":
        algorithms = frozenset(name for name in algorithms if len(key) >= int(name[2:]) // 8)  # RFC 7518 §3.2
        if not algorithms:
            raise ValueError("the secret is shorter than the hash")
    _check_size(key)
    return VerificationKey(kid, algorithms, key)


def _key_from_pem(pem: bytes, kid: str | None, algorithm: str | None) -> VerificationKey:
    if b"PRIVATE KEY" in pem:
        raise ValueError("this is a private key; make the public one, which verifies, with: openssl pkey -pubout")
    if algorithm is not None:
        return VerificationKey(kid, frozenset({algorithm}), _prepared(algorithm, pem, "pem"))
    for family in _FAMILIES.values():
        try:
            return VerificationKey(kid, family, _prepared(min(family), pem, "pem"))
        except ValueError:
            continue
    raise ValueError("this is not a public key in PEM form that is supported")


def _prepared(algorithm: str, material: bytes, what: str) -> Any:
    try:
        key = _ALGORITHMS[algorithm].prepare_key(material)
    except (PyJWTError, ValueError, TypeError) as error:
        if what == "secret":
            raise ValueError("the secret is a public key or a certificate, which everybody may know") from error
        raise ValueError(f"`pem` is not a public key for {algorithm}") from error
    _check_size(key)
    return key


def _check_size(key: Any) -> None:
    """RSA only: the sizes of the others follow from their curves."""
    if hasattr(key, "public_numbers") and hasattr(key.public_numbers(), "n"):
        numbers = key.public_numbers()
        if not _MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS or numbers.e.bit_length() > 33:
            raise ValueError(f"an RSA key has {_MIN_RSA_BITS} to {_MAX_RSA_BITS} bits, and a short exponent")
