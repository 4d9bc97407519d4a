"""Tokens that must never be accepted: one row for each known way to forge, confuse or abuse."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from proxy.clients.jwt import JwtSource, TokenRules, verify_token
from proxy.clients.keys import KeySet, key_from_settings, read_keys
from proxy.clients.settings import KeySettings
from proxy.clients.tokens import MAX_TOKEN_BYTES, TokenFault, read_token
from proxy.http.message import Request

Encode = Callable[[Any], str]
MakeRequest = Callable[..., Request]
F = TokenFault


@pytest.fixture(scope="session")
def keys(signers: Any) -> KeySet:
    """A provider's key set: one key for each of three kinds."""
    document = {"keys": [signers[name].jwk(kid=name) for name in ("RS256", "ES256", "EdDSA")]}
    return KeySet(read_keys(json.dumps(document).encode(), may_hold_secrets=False)[0])


def _fault(token: str | bytes, keys: KeySet, now: float, **rules: Any) -> TokenFault:
    text = token.encode() if isinstance(token, str) else token
    found = verify_token(text, TokenRules(keys, **rules), now)
    assert isinstance(found, TokenFault), found
    return found


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", "none ", "\0none"])
@pytest.mark.parametrize("signature", ["", "AA", "e30"])
def test_alg_none_in_every_spelling(keys: KeySet, now: float, encode: Encode, algorithm: str, signature: str) -> None:
    for kid in (None, "RS256"):
        head = {"alg": algorithm} | ({"kid": kid} if kid else {})
        token = f"{encode(head)}.{encode({'sub': 'admin', 'exp': now + 600})}.{signature}"
        assert _fault(token, keys, now) in (F.MALFORMED, F.ALGORITHM)


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
@pytest.mark.parametrize("form", ["pem", "pem without the last line end", "jwk", "n"])
def test_a_public_key_is_no_secret(
    signers: Any, keys: KeySet, now: float, encode: Encode, algorithm: str, form: str
) -> None:
    signer = signers["RS256"]
    secret = {
        "pem": signer.pem,
        "pem without the last line end": signer.pem.rstrip("\n"),
        "jwk": json.dumps(signer.jwk()),
        "n": signer.jwk()["n"],
    }[form]
    signed = f"{encode({'alg': algorithm, 'kid': 'RS256'})}.{encode({'sub': 'admin', 'exp': now + 600})}"
    mac = hmac.digest(secret.encode(), signed.encode(), "sha" + algorithm[2:])
    assert _fault(f"{signed}.{encode(mac)}", keys, now) is F.ALGORITHM
    assert _fault(f"{signed}.{encode(mac)}", keys, now, algorithms=frozenset({algorithm, "RS256"})) is F.ALGORITHM


def test_an_inline_secret_that_is_a_public_key_is_refused_at_once(signers: Any) -> None:
    with pytest.raises(ValueError, match="which everybody may know"):
        key_from_settings(KeySettings.model_validate({"alg": "HS256", "secret": signers["RS256"].pem}))


@pytest.mark.parametrize(
    ("signed_with", "says", "kid"),
    [
        ("RS256", "RS384", None),
        ("RS256", "PS256", "RS256"),
        ("PS256", "RS256", "RS256"),
        ("ES256", "ES384", "ES256"),
        ("ES256", "EdDSA", "EdDSA"),
        ("EdDSA", "ES256", "ES256"),
        ("RS256", "ES256", "ES256"),
        ("RS256", "RS256", "ES256"),
    ],
)
def test_an_algorithm_and_its_key_cannot_be_swapped(
    signers: Any, keys: KeySet, now: float, signed_with: str, says: str, kid: str | None
) -> None:
    token = signers[signed_with].token({"alg": says, "kid": kid}, sub="admin")
    assert _fault(token, keys, now) in (F.ALGORITHM, F.SIGNATURE)


def test_an_algorithm_that_is_not_listed_is_refused_with_a_good_signature(
    signers: Any, keys: KeySet, now: float
) -> None:
    token = signers["RS256"].token({"kid": "RS256"})
    assert isinstance(verify_token(token.encode(), TokenRules(keys), now), dict)
    assert _fault(token, keys, now, algorithms=frozenset({"ES256"})) is F.ALGORITHM


@pytest.mark.parametrize(
    "algorithm", [None, 5, True, ["RS256"], {"a": 1}, "rs256", "RS256 ", "ES256K", "ES521", "A128KW", "dir"]
)
def test_an_odd_algorithm_is_refused(signers: Any, keys: KeySet, now: float, encode: Encode, algorithm: object) -> None:
    signer = signers["RS256"]
    token = signer.sign(encode({"alg": algorithm, "kid": "RS256"}), encode({"sub": "a", "exp": now + 600}))
    assert _fault(token, keys, now) is F.ALGORITHM


@pytest.mark.parametrize(
    "member",
    [
        {"jku": "https://evil.test/jwks.json"},
        {"x5u": "https://evil.test/cert.pem"},
        {"jwk": {"kty": "oct", "k": "AAAA"}},
        {"crit": ["exp"]},
        {"crit": []},
        {"b64": False},
        {"b64": True, "crit": ["b64"]},
        {"zip": "DEF"},
        {"typ": "logout+jwt"},
        {"typ": "dpop+jwt"},
        {"typ": "JWE"},
        {"typ": 5},
        {"kid": 5},
        {"kid": ["RS256"]},
        {"kid": ""},
        {"kid": "x" * 65},
    ],
    ids=lambda member: json.dumps(member)[:40],
)
def test_a_header_that_changes_the_rules_is_refused_with_a_good_signature(
    signers: Any, keys: KeySet, now: float, member: dict[str, Any]
) -> None:
    assert _fault(signers["RS256"].token({"kid": "RS256", **member}), keys, now) is F.HEADER


@pytest.mark.parametrize(
    "kid",
    ["../../dev/null", "/etc/passwd", "' OR 1=1 --", "RS256\0", "rs256", " RS256", "{{7*7}}", "\u202eRS256", "x" * 64],
)
def test_a_key_id_is_looked_up_and_nothing_else(signers: Any, keys: KeySet, now: float, kid: str) -> None:
    asked: list[bool] = []
    keys.on_unknown = lambda: asked.append(True)
    try:
        assert _fault(signers["RS256"].token({"kid": kid}), keys, now) is F.UNKNOWN_KEY
    finally:
        keys.on_unknown = None
    assert asked == []  # verifying asks for nothing; the source does


def test_a_key_brought_along_is_not_used(signers: Any, keys: KeySet, now: float) -> None:
    own = type(signers["ES256"])("ES256", ec.generate_private_key(ec.SECP256R1()))
    for kid in (None, "ES256"):
        assert _fault(own.token({"kid": kid, "jwk": own.jwk()}), keys, now) is F.HEADER
        assert _fault(own.token({"kid": kid, "x5c": ["MIIB"]}), keys, now) is F.SIGNATURE
        assert _fault(own.token({"kid": kid}), keys, now) is F.SIGNATURE


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda token: token + "=", id="padding"),
        pytest.param(lambda token: token + "==", id="more-padding"),
        pytest.param(lambda token: token.replace(".", "=.", 1), id="padded-header"),
        pytest.param(lambda token: token.replace(".", ".\n", 1), id="line-end"),
        pytest.param(lambda token: token.replace(".", ". ", 1), id="space"),
        pytest.param(lambda token: " " + token, id="space-before"),
        pytest.param(lambda token: token + "\n", id="line-end-after"),
        pytest.param(lambda token: token[:20] + "!" + token[20:], id="character-outside-the-alphabet"),
        pytest.param(lambda token: token[:20] + "\u0430" + token[20:], id="letter-outside-ascii"),
        pytest.param(lambda token: token[:20] + "\0" + token[20:], id="nul"),
        pytest.param(lambda token: token + ".", id="fourth-part"),
        pytest.param(lambda token: token + ".AA.AA", id="five-parts"),
        pytest.param(lambda token: token.rpartition(".")[0], id="two-parts"),
        pytest.param(lambda token: token.rpartition(".")[0] + ".", id="no-signature"),
        pytest.param(lambda token: "." + token.partition(".")[2], id="no-header"),
        pytest.param(lambda token: token.replace(".", "", 1), id="one-dot"),
        pytest.param(lambda token: "", id="empty"),
        pytest.param(lambda token: "..", id="dots"),
        pytest.param(lambda token: json.dumps({"payload": token}), id="json-serialization"),
    ],
)
def test_another_form_of_a_good_token_is_no_token(signers: Any, keys: KeySet, now: float, change: Any) -> None:
    assert _fault(change(signers["ES256"].token({"kid": "ES256"})), keys, now) is F.MALFORMED


def test_stray_bits_make_no_second_token(signers: Any, keys: KeySet, now: float) -> None:
    """86 characters carry 516 bits for the 512 of a signature: 15 other last characters would decode to the same."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    token = signers["ES256"].token({"kid": "ES256"})
    accepted = [c for c in alphabet if isinstance(verify_token((token[:-1] + c).encode(), TokenRules(keys), now), dict)]
    assert accepted == [token[-1]]


def test_the_standard_alphabet_is_not_read(signers: Any, keys: KeySet, now: float) -> None:
    for number in range(50):
        token = signers["ES256"].token({"kid": "ES256"}, jti=number)
        other = token.replace("-", "+").replace("_", "/")
        if other != token:
            assert _fault(other, keys, now) is F.MALFORMED
            return
    pytest.fail("no token had a character that differs")


@pytest.mark.parametrize(
    "header",
    [
        pytest.param('{"alg":"none","alg":"ES256","kid":"ES256"}', id="repeated-alg"),
        pytest.param('{"alg":"ES256","kid":"x","kid":"ES256"}', id="repeated-kid"),
        pytest.param('["ES256"]', id="array"),
        pytest.param('"ES256"', id="text"),
        pytest.param("null", id="null"),
        pytest.param("", id="empty"),
        pytest.param('{"alg":"ES256","kid":"ES256"}x', id="rubbish-after"),
        pytest.param('{"alg":"ES256","kid":"ES256",}', id="trailing-comma"),
        pytest.param('{"alg":"ES256","kid":"ES256","x":NaN}', id="nan"),
        pytest.param("\ufeff" + '{"alg":"ES256","kid":"ES256"}', id="byte-order-mark"),
        pytest.param('{"alg":"ES256","kid":"ES256","x":' + "[" * 3000 + "]" * 3000 + "}", id="deeply-nested"),
        pytest.param('{"alg":"ES256","kid":"ES256","x":' + "9" * 5000 + "}", id="endless-number"),
    ],
)
def test_a_header_with_two_readings_is_malformed(
    signers: Any, keys: KeySet, now: float, encode: Encode, header: str
) -> None:
    token = signers["ES256"].sign(encode(header), encode({"sub": "alice", "exp": now + 600}))
    assert _fault(token, keys, now) in (F.MALFORMED, F.TOO_LONG)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-le"])
def test_json_in_another_encoding_is_malformed(
    signers: Any, keys: KeySet, now: float, encode: Encode, encoding: str
) -> None:
    claims = {"sub": "alice", "exp": now + 600}
    header = json.dumps({"alg": "ES256", "kid": "ES256"})
    assert _fault(signers["ES256"].sign(encode(header.encode(encoding)), encode(claims)), keys, now) is F.MALFORMED
    token = signers["ES256"].sign(encode(header), encode(json.dumps(claims).encode(encoding)))
    assert _fault(token, keys, now) is F.CLAIMS


@pytest.mark.parametrize(
    ("claims", "fault"),
    [
        pytest.param('{"sub":"bob","sub":"alice","exp":1800000600}', F.CLAIMS, id="repeated-sub"),
        pytest.param('{"sub":"alice","exp":1,"exp":1800000600}', F.CLAIMS, id="repeated-exp"),
        pytest.param('{"sub":"alice","a":{"b":1,"b":2},"exp":1800000600}', F.CLAIMS, id="repeated-within"),
        pytest.param('["alice"]', F.CLAIMS, id="array"),
        pytest.param("{}", F.CLAIMS, id="no-exp"),
        pytest.param('{"exp":null}', F.CLAIMS, id="null-exp"),
        pytest.param('{"exp":"1800000600"}', F.CLAIMS, id="exp-as-text"),
        pytest.param('{"exp":true}', F.CLAIMS, id="exp-true"),
        pytest.param('{"exp":[1800000600]}', F.CLAIMS, id="exp-in-a-list"),
        pytest.param('{"exp":Infinity}', F.CLAIMS, id="exp-infinite"),
        pytest.param('{"exp":NaN}', F.CLAIMS, id="exp-nan"),
        pytest.param('{"exp":1e400}', F.CLAIMS, id="exp-overflows"),
        pytest.param('{"exp":' + "9" * 400 + "}", F.CLAIMS, id="exp-of-400-digits"),
        pytest.param('{"exp":-1}', F.CLAIMS, id="exp-negative"),
        pytest.param('{"exp":1799999970}', F.EXPIRED, id="expired"),
        pytest.param('{"exp":0}', F.EXPIRED, id="expired-in-1970"),
        pytest.param('{"exp":1800000600,"nbf":1800000031}', F.NOT_YET_VALID, id="nbf-in-the-future"),
        pytest.param('{"exp":1800000600,"iat":1800000031}', F.NOT_YET_VALID, id="iat-in-the-future"),
        pytest.param('{"exp":1800000600,"nbf":null}', F.CLAIMS, id="null-nbf"),
        pytest.param('{"exp":1800000600,"nbf":"0"}', F.CLAIMS, id="nbf-as-text"),
        pytest.param('{"exp":1800000600,"iat":false}', F.CLAIMS, id="iat-false"),
    ],
)
def test_claims_that_prove_nothing(
    signers: Any, keys: KeySet, now: float, encode: Encode, claims: str, fault: TokenFault
) -> None:
    token = signers["ES256"].sign(encode({"alg": "ES256", "kid": "ES256"}), encode(claims))
    assert _fault(token, keys, now) is fault


@pytest.mark.parametrize(
    ("claims", "fault"),
    [
        pytest.param({"aud": "shop"}, F.ISSUER, id="no-issuer"),
        pytest.param({"iss": "https://id.test/", "aud": "shop"}, F.ISSUER, id="another-issuer"),
        pytest.param({"iss": ["https://id.test"], "aud": "shop"}, F.ISSUER, id="issuer-in-a-list"),
        pytest.param({"iss": "https://id.test"}, F.AUDIENCE, id="no-audience"),
        pytest.param({"iss": "https://id.test", "aud": "Shop"}, F.AUDIENCE, id="another-audience"),
        pytest.param({"iss": "https://id.test", "aud": "shop admin"}, F.AUDIENCE, id="audience-as-words"),
        pytest.param({"iss": "https://id.test", "aud": []}, F.AUDIENCE, id="empty-list"),
        pytest.param({"iss": "https://id.test", "aud": ["x", "y"]}, F.AUDIENCE, id="other-audiences"),
        pytest.param({"iss": "https://id.test", "aud": ["shop", 5]}, F.AUDIENCE, id="mixed-list"),
        pytest.param({"iss": "https://id.test", "aud": {"shop": 1}}, F.AUDIENCE, id="audience-as-object"),
    ],
)
def test_a_token_for_somebody_else(
    signers: Any, keys: KeySet, now: float, claims: dict[str, Any], fault: TokenFault
) -> None:
    token = signers["ES256"].token({"kid": "ES256"}, **claims)
    assert _fault(token, keys, now, issuer="https://id.test", audiences=frozenset({"shop"})) is fault


def test_a_huge_token_is_refused_before_it_is_read(signers: Any, keys: KeySet, now: float) -> None:
    token = signers["ES256"].token({"kid": "ES256"}, filler="x" * MAX_TOKEN_BYTES)
    assert _fault(token, keys, now) is F.TOO_LONG
    assert _fault(b"." * 10_000_000, keys, now) is F.TOO_LONG
    assert _fault(b"a" * MAX_TOKEN_BYTES, keys, now) is F.MALFORMED


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"use": "enc"}, r"\(use\)", id="use-encryption"),
        pytest.param({"use": ""}, r"\(use\)", id="use-empty"),
        pytest.param({"use": ["sig"]}, r"\(use\)", id="use-in-a-list"),
        pytest.param({"key_ops": ["encrypt"]}, r"\(key_ops\)", id="operation-encrypt"),
        pytest.param({"key_ops": ["sign"]}, r"\(key_ops\)", id="operation-sign"),
        pytest.param({"key_ops": []}, r"\(key_ops\)", id="no-operation"),
        pytest.param({"key_ops": "verify"}, r"\(key_ops\)", id="operations-as-text"),
        pytest.param({"alg": "RSA-OAEP"}, "its algorithm", id="algorithm-for-encryption"),
        pytest.param({"alg": "HS256"}, "its algorithm", id="algorithm-of-another-type"),
        pytest.param({"alg": "ES256"}, "its algorithm", id="algorithm-of-another-family"),
        pytest.param({"alg": ["RS256"]}, "its algorithm", id="algorithms-in-a-list"),
        pytest.param({"kid": 5}, "its kid", id="kid-as-number"),
        pytest.param({"kid": "x" * 65}, "its kid", id="long-kid"),
        pytest.param({"kty": "EC"}, "type or curve", id="another-type"),
        pytest.param({"kty": "oct", "k": "AAAA"}, "do not come from a URL", id="secret"),
        pytest.param({"d": "AQAB"}, "private", id="private"),
        pytest.param({"n": "!"}, "numbers", id="no-number"),
        pytest.param({"n": 5}, "numbers", id="number-as-number"),
        pytest.param({"e": "AA"}, "numbers", id="exponent-zero"),
        pytest.param({"e": None}, "numbers", id="no-exponent"),
    ],
)
def test_a_key_that_is_not_for_verifying_verifies_nothing(
    signers: Any, now: float, change: dict[str, Any], reason: str
) -> None:
    item = signers["RS256"].jwk(**{"kid": "k", **change})
    with pytest.raises(ValueError, match=reason):
        read_keys(json.dumps({"keys": [item]}).encode(), may_hold_secrets=False)
    good = signers["ES256"].jwk(kid="good")
    usable, left_out = read_keys(json.dumps({"keys": [item, good]}).encode(), may_hold_secrets=False)
    assert [key.kid for key in usable] == ["good"]
    assert len(left_out) == 1
    assert _fault(signers["RS256"].token({"kid": "k"}), KeySet(usable), now) is F.UNKNOWN_KEY


def test_a_small_rsa_key_can_be_broken_and_is_left_out(signers: Any) -> None:
    small = type(signers["RS256"])("RS256", rsa.generate_private_key(65537, 1024))
    with pytest.raises(ValueError, match="2048 to 8192 bits"):
        read_keys(json.dumps(small.jwk()).encode(), may_hold_secrets=False)
    with pytest.raises(ValueError, match="2048 to 8192 bits"):
        key_from_settings(KeySettings.model_validate({"alg": "RS256", "pem": small.pem}))


def test_a_huge_rsa_key_would_cost_too_much_and_is_left_out(encode: Encode) -> None:
    item = {"kty": "RSA", "n": encode(b"\xff" * 2048), "e": "AQAB"}
    with pytest.raises(ValueError, match="2048 to 8192 bits"):
        read_keys(json.dumps(item).encode(), may_hold_secrets=False)


def test_a_point_beside_the_curve_is_no_key(signers: Any, encode: Encode) -> None:
    item = signers["ES256"].jwk(y=encode(b"\x01" * 32))
    with pytest.raises(ValueError, match="numbers"):
        read_keys(json.dumps(item).encode(), may_hold_secrets=False)


def test_a_key_for_exchanging_keys_is_none_for_signatures(encode: Encode) -> None:
    item = {"kty": "OKP", "crv": "X25519", "x": encode(b"\x01" * 32)}
    with pytest.raises(ValueError, match="type or curve"):
        read_keys(json.dumps(item).encode(), may_hold_secrets=False)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"[]", id="array"),
        pytest.param(b'{"keys": {}}', id="keys-as-object"),
        pytest.param(b'{"keys": []}', id="no-keys"),
        pytest.param(b'{"keys": [5]}', id="key-as-number"),
        pytest.param(b'{"keys": [' + b"{}," * 200 + b"{}]}", id="too-many"),
        pytest.param(b'{"keys": [], "keys": []}', id="repeated-member"),
        pytest.param(b" " * 70_000, id="too-large"),
        pytest.param(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", id="broken-pem"),
        pytest.param(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", id="certificate"),
    ],
)
def test_what_is_no_key_set_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        read_keys(data, may_hold_secrets=True)


def test_a_private_key_in_a_file_is_refused(signers: Any) -> None:
    for name in ("RS256", "ES256", "EdDSA"):
        with pytest.raises(ValueError, match="this is a private key"):
            read_keys(signers[name].private_pem.encode(), may_hold_secrets=True)


def test_a_token_without_kid_is_tried_on_a_bounded_number_of_keys(
    signers: Any, now: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = read_keys(json.dumps(signers["ES256"].jwk()).encode(), may_hold_secrets=False)[0][0]
    tried: list[str] = []

    class Counting:
        kid = None
        algorithms = one.algorithms

        def verifies(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
            tried.append(algorithm)
            return False

    keys: Any = [Counting() for _ in range(50)]
    assert _fault(signers["ES256"].token(), KeySet(keys), now) is F.SIGNATURE
    assert len(tried) == 8


@given(st.binary(max_size=200))
def test_no_bytes_raise(keys: KeySet, now: float, data: bytes) -> None:
    assert isinstance(verify_token(data, TokenRules(keys), now), TokenFault)
    assert not isinstance(read_token(data), type(None))


@given(st.lists(st.sampled_from([b".", b"e30", b"eyJhbGciOiJFUzI1NiJ9", b"=", b"AA", b"\xff", b"-", b"_"]), max_size=9))
def test_no_parts_raise(keys: KeySet, now: float, parts: list[bytes]) -> None:
    assert isinstance(verify_token(b"".join(parts), TokenRules(keys), now), TokenFault)


def test_an_unknown_key_asks_for_a_fetch_and_is_not_remembered(
    signers: Any, now: float, make_request: MakeRequest
) -> None:
    keys = KeySet(url="https://id.test/jwks.json")
    asked: list[bool] = []
    keys.on_unknown = lambda: asked.append(True)
    source = JwtSource(TokenRules(keys))
    request = make_request(("Authorization", "Bearer " + signers["ES256"].token({"kid": "new"})))
    for _ in range(2):
        assert getattr(source.find(request, now), "fault", None) == "unknown_key"
    assert len(asked) == 2
    keys.replace(read_keys(json.dumps(signers["ES256"].jwk(kid="new")).encode(), may_hold_secrets=False)[0])
    assert getattr(source.find(request, now), "user", None) == "alice"
    assert len(asked) == 2


def test_a_token_from_the_future_is_good_when_its_time_comes(
    signers: Any, now: float, make_request: MakeRequest
) -> None:
    keys = KeySet(read_keys(json.dumps(signers["ES256"].jwk()).encode(), may_hold_secrets=False)[0])
    source = JwtSource(TokenRules(keys))
    request = make_request(("Authorization", "Bearer " + signers["ES256"].token(nbf=now + 40, iat=None)))
    assert getattr(source.find(request, now), "fault", None) == "not_yet_valid"
    assert getattr(source.find(request, now + 11), "user", None) == "alice"


@pytest.mark.parametrize(
    "lines",
    [
        [("Authorization", "Bearer {}"), ("Authorization", "Bearer {}")],
        [("Authorization", "Bearer {}, Bearer {}")],
        [("Authorization", "Bearer {} {}")],
        [("Authorization", "Bearer Bearer {}")],
        [("Authorization", "Bearer ")],
        [("Authorization", 'Bearer "{}"')],
    ],
    ids=["repeated", "listed", "two-tokens", "two-schemes", "no-token", "quoted"],
)
def test_credentials_with_two_readings_are_an_error(
    signers: Any, keys: KeySet, now: float, make_request: MakeRequest, lines: list[tuple[str, str]]
) -> None:
    token = signers["ES256"].token({"kid": "ES256"})
    request = make_request(*[(name, value.replace("{}", token)) for name, value in lines])
    assert getattr(JwtSource(TokenRules(keys)).find(request, now), "fault", None) == "malformed"
