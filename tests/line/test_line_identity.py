"""Who asks, seen from outside: what a backend is told, what is counted, and who gets a 401.

127.0.0.1 is a trusted proxy here, 127.0.0.2 is anybody.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from hashlib import sha256

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from proxy.clients.cookies import sign_cookie
from tests.line.backend import Backend, reply
from tests.line.client import Answer
from tests.line.conftest import Configure
from tests.line.process import Weir, eventually

Credentials = Callable[[], tuple[str, str]]
ANYBODY = "127.0.0.2"
SECRET = "0123456789abcdef0123456789abcdef"
UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

CONFIG = """
trusted_proxies: [127.0.0.1/32]
upstreams: {{app: {{primary: {app}}}}}
defaults: {{upstream: app}}
identity:
  user:
    - header: X-User
    - api_key: {{keys: {{robot: "sha256:{key_hash}"}}}}
    - cookie: {{name: session, secret: {secret}}}
    - jwt: {{keys: [{{kid: h, alg: HS256, secret: {secret}}}], audience: shop}}
    - jwt: {{keys: {app}/jwks.json, issuer: "https://id.example.com", header: X-Token}}
  tenant: {{header: X-Tenant}}
routes:
  - {{name: rest}}
  - {{name: private, match: {{path: /private}}, require_user: true}}
  - {{name: guessing, match: {{path: /guess}}, require_user: true, limits: [{{name: guesses, rate: 3/h, by: ip}}]}}
  - {{name: by-ip, match: {{path: /by-ip}}, limits: [{{name: by-ip, rate: 2/h, by: ip}}]}}
"""


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def weir(configure_module: Configure, app: Backend, rsa_key: rsa.RSAPrivateKey) -> Weir:
    key = jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key.public_key(), as_dict=True) | {"kid": "r", "alg": "RS256"}
    app.on("/jwks.json", reply(200, json.dumps({"keys": [key]}).encode(), Content_Type="application/json"))
    key_hash = sha256(b"key-of-robot").hexdigest()
    return configure_module(CONFIG.format(app=app.url, key_hash=key_hash, secret=SECRET))


def user_of(weir: Weir, answer: Answer) -> str | None:
    """The user, as the access log has it."""
    user = weir.logged(answer)["user"]
    return None if user is None else str(user)


def digest(user: str) -> str:
    return sha256(user.encode()).hexdigest()[:12]


def test_a_user_field_of_a_trusted_proxy_is_believed(weir: Weir, app: Backend) -> None:
    answer = weir.get("/private", {"X-User": "alice"})
    assert answer.status == 200
    assert user_of(weir, answer) == digest("alice")
    assert app.last("/private").get("x-user") == "alice"


def test_a_user_field_of_anybody_else_is_no_user_and_does_not_reach_the_backend(weir: Weir, app: Backend) -> None:
    assert weir.get("/private", {"X-User": "alice"}, source=ANYBODY).status == 401
    answer = weir.get("/forged", [("X-User", "alice"), ("x-uSER", "root"), ("X-Tenant", "acme")], source=ANYBODY)
    assert answer.status == 200
    assert user_of(weir, answer) is None
    assert app.last("/forged").all("x-user") == []
    assert app.last("/forged").all("x-tenant") == []


def expiring(seconds: int) -> int:
    return int(time.time()) + seconds


def hs256(claims: dict[str, object]) -> str:
    return jwt.encode({"exp": expiring(600), **claims}, SECRET, "HS256", headers={"kid": "h"})


@pytest.mark.parametrize(
    ("field", "user"),
    [
        pytest.param(lambda: ("X-API-Key", "key-of-robot"), "robot", id="api key"),
        pytest.param(
            lambda: ("Cookie", f"a=1; session={sign_cookie('session', 'bob', expiring(60), SECRET)}"),
            "bob",
            id="cookie",
        ),
        pytest.param(
            lambda: ("Authorization", "Bearer " + hs256({"sub": "carol", "aud": "shop"})), "carol", id="hs256"
        ),
    ],
)
def test_credentials_make_a_user_whoever_sends_them(weir: Weir, field: Credentials, user: str) -> None:
    name, value = field()
    answer = weir.get("/private", {name: value}, source=ANYBODY)
    assert answer.status == 200
    assert user_of(weir, answer) == digest(user)


@pytest.mark.parametrize(
    ("field", "fault"),
    [
        pytest.param(lambda: ("X-API-Key", "key-of-nobody"), None, id="unknown api key"),
        pytest.param(
            lambda: ("Cookie", "session=" + sign_cookie("session", "bob", expiring(60), SECRET[::-1])),
            "signature",
            id="forged cookie",
        ),
        pytest.param(
            lambda: ("Cookie", "session=" + sign_cookie("session", "bob", expiring(-60), SECRET)),
            "expired",
            id="old cookie",
        ),
        pytest.param(
            lambda: ("Authorization", "Bearer " + hs256({"sub": "c", "aud": "shop", "exp": expiring(-600)})),
            "expired",
            id="old token",
        ),
        pytest.param(
            lambda: ("Authorization", "Bearer " + hs256({"sub": "c", "aud": "bank"})), None, id="for someone else"
        ),
        pytest.param(
            lambda: ("Authorization", "Bearer " + jwt.encode({"sub": "c", "aud": "shop"}, None, "none")),
            None,
            id="algorithm none",
        ),
    ],
)
def test_bad_credentials_are_401_where_a_user_is_required_and_no_user_elsewhere(
    weir: Weir, field: Credentials, fault: str | None
) -> None:
    name, value = field()
    refused = weir.get("/private", {name: value}, source=ANYBODY)
    assert (refused.status, refused.reason) == (401, "unauthenticated")
    assert (refused.get("www-authenticate") or "").startswith("Bearer")
    passed = weir.get("/elsewhere", {name: value}, source=ANYBODY)
    assert passed.status == 200
    assert user_of(weir, passed) is None
    said = weir.logged(refused)
    assert (said["user"], said["reason"]) == (None, "unauthenticated")
    assert said["fault"] is not None
    if fault is not None:
        assert said["fault"] == fault


def test_a_token_is_verified_with_the_keys_of_a_url(weir: Weir, rsa_key: rsa.RSAPrivateKey) -> None:
    claims = {"sub": "dave", "iss": "https://id.example.com", "exp": expiring(600)}
    good = jwt.encode(claims, rsa_key, "RS256", headers={"kid": "r"})
    eventually(lambda: weir.get("/private", {"X-Token": good}, source=ANYBODY).status == 200)
    answer = weir.get("/private", {"X-Token": good}, source=ANYBODY)
    assert user_of(weir, answer) == digest("dave")
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    forged = jwt.encode(claims, stranger, "RS256", headers={"kid": "r"})
    assert weir.get("/private", {"X-Token": forged}, source=ANYBODY).status == 401
    other_issuer = jwt.encode({**claims, "iss": "https://evil.example"}, rsa_key, "RS256", headers={"kid": "r"})
    assert weir.get("/private", {"X-Token": other_issuer}, source=ANYBODY).status == 401


def test_limits_come_before_the_401_so_that_guessing_costs_quota(weir: Weir) -> None:
    guesses = [weir.get("/guess", {"X-API-Key": f"guess-{number}"}, source="127.0.0.3") for number in range(5)]
    assert [guess.status for guess in guesses] == [401, 401, 401, 429, 429]
    assert [guess.get("x-ratelimit-remaining") for guess in guesses[:3]] == ["2", "1", "0"]
    denied = weir.get("/guess", {"X-API-Key": "key-of-robot"}, source="127.0.0.3")
    assert denied.status == 429, "the right guess comes too late"


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "CF-Connecting-IP"])
def test_a_forwarded_address_is_believed_from_a_trusted_proxy_and_from_nobody_else(
    weir: Weir, app: Backend, name: str
) -> None:
    value = "for=203.0.113.9" if name == "Forwarded" else "203.0.113.9"
    trusted = weir.get("/forwarded", {name: value})
    liar = weir.get("/forwarded", {name: value}, source=ANYBODY)
    assert weir.logged(liar)["client_ip"] == ANYBODY
    assert weir.logged(trusted)["client_ip"] == "203.0.113.9"
    call = app.last("/forwarded")
    assert call.get("x-forwarded-for") == ANYBODY, "what a stranger claims is not passed on"
    assert "203.0.113.9" not in str(call.fields)


def test_a_stranger_cannot_escape_a_limit_by_claiming_addresses(weir: Weir) -> None:
    answers = [weir.get("/by-ip", {"X-Forwarded-For": f"198.51.100.{n}"}, source="127.0.0.4") for n in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 429, 429]
    through_the_proxy = [weir.get("/by-ip", {"X-Forwarded-For": f"198.51.100.{n}"}) for n in range(4)]
    assert [answer.status for answer in through_the_proxy] == [200, 200, 200, 200]
    neighbours = [weir.get("/by-ip", {"X-Forwarded-For": f"2001:db8::{n}"}) for n in range(1, 4)]
    assert [answer.status for answer in neighbours] == [200, 200, 429], "a /64 is one client"


def test_only_the_rightmost_untrusted_address_counts(weir: Weir, app: Backend) -> None:
    answer = weir.get("/chain", {"X-Forwarded-For": "192.0.2.1, 203.0.113.7, 127.0.0.1"})
    assert weir.logged(answer)["client_ip"] == "203.0.113.7"
    assert app.last("/chain").get("x-forwarded-for") == "192.0.2.1, 203.0.113.7, 127.0.0.1, 127.0.0.1"


def test_a_request_id_is_kept_from_a_trusted_proxy_and_made_anew_for_others(weir: Weir, app: Backend) -> None:
    kept = weir.get("/id", {"X-Request-ID": "trace-0001.abc"})
    assert kept.get("x-request-id") == "trace-0001.abc"
    assert app.last("/id").get("x-request-id") == "trace-0001.abc"
    for odd in ("short", "x" * 129, "bad id with spaces", '"}{"'):
        assert UUID7.fullmatch(weir.get("/id", {"X-Request-ID": odd}).get("x-request-id") or "")
    anew = weir.get("/id", {"X-Request-ID": "trace-0001.abc"}, source=ANYBODY)
    assert UUID7.fullmatch(anew.get("x-request-id") or "")
    assert app.last("/id").get("x-request-id") == anew.get("x-request-id")
    assert len({weir.get("/id").get("x-request-id") for _ in range(5)}) == 5
