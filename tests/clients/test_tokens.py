"""Tokens that are good: every algorithm, every form of key, and what is read out of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from proxy.clients.jwt import JwtSource, TokenRules, verify_token
from proxy.clients.keys import KeySet, key_from_settings, read_keys
from proxy.clients.settings import KeySettings
from proxy.clients.tokens import TokenFault
from proxy.http.message import Request

ALGORITHMS = "HS256 HS384 HS512 RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA".split()
MakeRequest = Callable[..., Request]


def _inline(signer: Any) -> KeySet:
    secret = isinstance(signer.private, bytes)
    material = {"secret": signer.private.decode()} if secret else {"pem": signer.pem}
    return KeySet([key_from_settings(KeySettings.model_validate({"alg": signer.algorithm, **material}))])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_is_verified_with_an_inline_key(signers: Any, now: float, algorithm: str) -> None:
    signer = signers[algorithm]
    claims = verify_token(signer.token().encode(), TokenRules(_inline(signer)), now)
    assert isinstance(claims, dict)
    assert claims["sub"] == "alice"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_is_verified_with_a_key_set(signers: Any, now: float, algorithm: str) -> None:
    signer = signers[algorithm]
    document = {"keys": [signer.jwk(kid="k1", use="sig")]}
    keys, left_out = read_keys(json.dumps(document).encode(), may_hold_secrets=True)
    assert left_out == []
    token = signer.token({"kid": "k1"}).encode()
    assert isinstance(verify_token(token, TokenRules(KeySet(keys)), now), dict)


@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if not name.startswith("HS")])
def test_every_public_key_is_verified_from_a_pem_file(signers: Any, now: float, algorithm: str) -> None:
    keys, _ = read_keys(signers[algorithm].pem.encode(), may_hold_secrets=True)
    assert isinstance(verify_token(signers[algorithm].token().encode(), TokenRules(KeySet(keys)), now), dict)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_flipped_bit_anywhere_is_noticed(signers: Any, now: float, algorithm: str) -> None:
    signer = signers[algorithm]
    rules = TokenRules(_inline(signer))
    token = signer.token().encode()
    for at in range(0, len(token), 37):
        flipped = token[:at] + bytes([token[at] ^ 1]) + token[at + 1 :]
        assert isinstance(verify_token(flipped, rules, now), TokenFault), at


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("size", [0, 1, 31, 63, 64, 65, 255, 257, 1000])
def test_a_signature_of_any_size_is_only_wrong(
    signers: Any, now: float, encode: Any, algorithm: str, size: int
) -> None:
    signer = signers[algorithm]
    signed = signer.token().rpartition(".")[0]
    for octet in (b"\0", b"\x01", b"\xff"):
        token = f"{signed}.{encode(octet * size)}".encode()
        assert isinstance(verify_token(token, TokenRules(_inline(signer)), now), TokenFault)


@pytest.mark.parametrize(
    ("header", "claims", "rules"),
    [
        pytest.param({"typ": None}, {}, {}, id="no-type"),
        pytest.param({"typ": "at+jwt"}, {}, {}, id="access-token-type"),
        pytest.param({"typ": "application/AT+JWT"}, {}, {}, id="full-media-type"),
        pytest.param({"x5t": "abc"}, {}, {}, id="thumbprint-is-ignored"),
        pytest.param({}, {"exp": 1_800_000_000 - 29}, {}, id="expired-within-the-leeway"),
        pytest.param({}, {"nbf": 1_800_000_000 + 29}, {}, id="not-before-within-the-leeway"),
        pytest.param({}, {"exp": 1_800_000_000.5}, {}, id="fractions"),
        pytest.param({}, {"iss": "me"}, {"issuer": "me"}, id="issuer"),
        pytest.param({}, {"aud": "shop"}, {"audiences": frozenset({"shop"})}, id="audience"),
        pytest.param({}, {"aud": ["x", "shop"]}, {"audiences": frozenset({"shop", "y"})}, id="audience-in-a-list"),
        pytest.param({}, {"aud": "whoever"}, {}, id="audience-not-asked-for"),
        pytest.param({}, {}, {"algorithms": frozenset({"ES256", "RS256"})}, id="algorithm-listed"),
    ],
)
def test_a_token_that_fulfils_the_rules_is_accepted(
    signers: Any, now: float, header: dict[str, Any], claims: dict[str, Any], rules: dict[str, Any]
) -> None:
    signer = signers["ES256"]
    assert isinstance(
        verify_token(signer.token(header, **claims).encode(), TokenRules(_inline(signer), **rules), now), dict
    )


def test_a_key_without_an_id_is_tried_for_tokens_that_name_one(signers: Any, now: float) -> None:
    keys = _inline(signers["ES256"])
    assert isinstance(verify_token(signers["ES256"].token({"kid": "new"}).encode(), TokenRules(keys), now), dict)
    named = signers["EdDSA"].token({"kid": "new"}).encode()
    assert verify_token(named, TokenRules(keys), now) is TokenFault.UNKNOWN_KEY


def test_keys_of_different_kinds_may_share_an_id(signers: Any, now: float) -> None:
    keys = []
    for name in ("RS256", "ES256", "EdDSA"):
        keys += read_keys(json.dumps(signers[name].jwk(kid="k")).encode(), may_hold_secrets=False)[0]
    for name in ("RS256", "ES256", "EdDSA"):
        assert isinstance(verify_token(signers[name].token({"kid": "k"}).encode(), TokenRules(KeySet(keys)), now), dict)


@pytest.mark.parametrize(
    ("claim", "value", "user"),
    [("sub", "alice", "alice"), ("uid", 42, "42"), ("sub", "auth0|5f7c", "auth0|5f7c"), ("sub", "Åsa Ö", "Åsa Ö")],
)
def test_the_user_and_the_tenant_come_from_claims(
    signers: Any, now: float, make_request: MakeRequest, claim: str, value: object, user: str
) -> None:
    source = JwtSource(TokenRules(_inline(signers["HS256"])), claim=claim, tenant_claim="org")
    token = signers["HS256"].token(**{claim: value, "org": "acme"})
    finding = source.find(make_request(("Authorization", f"Bearer {token}")), now)
    assert finding is not None
    assert (finding.user, finding.tenant, finding.via, finding.error) == (user, "acme", "jwt", None)


@pytest.mark.parametrize(
    "value", [None, "", True, 1.5, ["alice"], {"a": 1}, "a\nb", "a\u200bb", "\ud800", "x" * 257, 10**30]
)
def test_a_token_whose_user_is_no_name_is_refused(
    signers: Any, now: float, make_request: MakeRequest, value: object
) -> None:
    source = JwtSource(TokenRules(_inline(signers["HS256"])))
    finding = source.find(make_request(("Authorization", f"Bearer {signers['HS256'].token(sub=value)}")), now)
    assert finding is not None
    assert (finding.user, finding.fault) == (None, "user")


@pytest.mark.parametrize(
    ("options", "line", "is_found"),
    [
        ({}, ("Authorization", "Bearer {}"), True),
        ({}, ("Authorization", "bearer   {}"), True),
        ({}, ("Authorization", "Basic {}"), False),
        ({}, ("X-Token", "{}"), False),
        ({"header": "X-Token"}, ("X-Token", "{}"), True),
        ({"header": "X-Token"}, ("X-Token", "Bearer {}"), True),
        ({"cookie": "sid"}, ("Cookie", "a=b; sid={}"), True),
        ({"cookie": "sid"}, ("Authorization", "Bearer {}"), False),
    ],
)
def test_a_token_is_looked_for_in_one_place(
    signers: Any, now: float, make_request: MakeRequest, options: dict[str, Any], line: tuple[str, str], is_found: bool
) -> None:
    source = JwtSource(TokenRules(_inline(signers["HS256"])), **options)
    finding = source.find(make_request((line[0], line[1].format(signers["HS256"].token()))), now)
    assert (finding is not None and finding.user == "alice") is is_found


def test_a_verified_token_is_remembered_for_a_minute_and_never_beyond_its_end(
    signers: Any, now: float, make_request: MakeRequest
) -> None:
    signer = signers["HS256"]
    source = JwtSource(TokenRules(_inline(signer), leeway_s=0.0))
    request = make_request(("Authorization", f"Bearer {signer.token()}"))
    first = source.find(request, now)
    assert first is not None
    assert first.until_wall == now + 60
    assert source.find(request, now + 59.9) is first
    assert source.find(request, now + 60.1) is not first
    short = make_request(("Authorization", f"Bearer {signer.token(exp=now + 10)}"))
    assert getattr(source.find(short, now + 9.9), "user", None) == "alice"
    assert getattr(source.find(short, now + 10.0), "fault", None) == "expired"


def test_what_was_verified_with_old_keys_is_forgotten_with_them(
    signers: Any, now: float, make_request: MakeRequest
) -> None:
    signer = signers["ES256"]
    keys = _inline(signer)
    source = JwtSource(TokenRules(keys))
    request = make_request(("Authorization", f"Bearer {signer.token()}"))
    assert getattr(source.find(request, now), "user", None) == "alice"
    keys.replace(_inline(signers["EdDSA"])._all)
    assert getattr(source.find(request, now), "fault", None) == "algorithm"
    keys.replace(_inline(signer)._all)
    assert getattr(source.find(request, now), "user", None) == "alice"


def test_a_flood_of_forged_tokens_leaves_verified_ones_in_memory(
    signers: Any, now: float, make_request: MakeRequest
) -> None:
    signer = signers["HS256"]
    source = JwtSource(TokenRules(_inline(signer)))
    request = make_request(("Authorization", f"Bearer {signer.token()}"))
    first = source.find(request, now)
    for number in range(10_000):
        source.find(make_request(("Authorization", f"Bearer forged{number}")), now)
    assert source.find(request, now) is first
    assert len(source._bad) <= 8192
    assert source.faults == {"malformed": 10_000}
