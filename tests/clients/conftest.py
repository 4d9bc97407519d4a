"""Builders for requests, tokens and keys. RSA keys are made once: they take a while."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from jwt.algorithms import get_default_algorithms

from proxy.http.message import Field, Request, index_fields

NOW = 1_800_000_000.0


def b64(data: bytes | str | dict[str, Any]) -> str:
    if isinstance(data, dict):
        data = json.dumps(data)
    if isinstance(data, str):
        data = data.encode()
    return urlsafe_b64encode(data).rstrip(b"=").decode()


class Signer:
    """A key that signs tokens, with its public halves in every form. It signs whatever it is told to."""

    def __init__(self, algorithm: str, private: Any, kid: str | None = None) -> None:
        self.algorithm = algorithm
        self.private = private
        self.kid = kid
        self._tools = get_default_algorithms()[algorithm]

    @property
    def pem(self) -> str:
        return self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    @property
    def private_pem(self) -> str:
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    def jwk(self, **more: Any) -> dict[str, Any]:
        public = self.private if isinstance(self.private, bytes) else self.private.public_key()
        found: dict[str, Any] = dict(self._tools.to_jwk(public, as_dict=True))
        found.pop("key_ops", None)
        if self.kid is not None:
            found["kid"] = self.kid
        return {name: value for name, value in {**found, **more}.items() if value is not None}

    def sign(self, header: str, claims: str) -> str:
        """A token from two encoded parts."""
        signed = f"{header}.{claims}"
        return f"{signed}.{b64(self._tools.sign(signed.encode(), self.private))}"

    def token(self, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A good token, but for what is said. None removes a member of the header or a claim."""
        head = {"alg": self.algorithm, "typ": "JWT", "kid": self.kid, **(header or {})}
        body = {"sub": "alice", "exp": NOW + 600, "iat": NOW - 5, **claims}
        return self.sign(
            b64({name: value for name, value in head.items() if value is not None}),
            b64({name: value for name, value in body.items() if value is not None}),
        )


SECRET = b"a secret of more than thirty-two bytes, and of sixty-four as well, for HS512"


@pytest.fixture(scope="session")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="session")
def signers(rsa_key: rsa.RSAPrivateKey) -> dict[str, Signer]:
    """One for every algorithm."""
    curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
    found = {name: Signer(name, SECRET) for name in ("HS256", "HS384", "HS512")}
    found |= {name: Signer(name, rsa_key) for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")}
    found |= {name: Signer(name, ec.generate_private_key(curve)) for name, curve in curves.items()}
    found["EdDSA"] = Signer("EdDSA", ed25519.Ed25519PrivateKey.generate())
    return found


@pytest.fixture(scope="session")
def now() -> float:
    return NOW


@pytest.fixture(scope="session")
def encode() -> Callable[[bytes | str | dict[str, Any]], str]:
    return b64


@pytest.fixture(scope="session")
def make_request() -> Callable[..., Request]:
    def make(*lines: tuple[str, str | bytes]) -> Request:
        fields: list[Field] = [
            (name.lower().encode(), name.encode(), value if isinstance(value, bytes) else value.encode())
            for name, value in lines
        ]
        request = Request(b"GET", b"/", 1, fields, index_fields(fields))
        request.path = "/"
        return request

    return make
