"""Identity as a whole: order of sources, trust, tenants, memory, and what the settings accept."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from proxy.clients.addresses import connection_client
from proxy.clients.client import Client
from proxy.clients.cookies import sign_cookie
from proxy.clients.identity import Identity, compile_identity
from proxy.clients.settings import IdentitySettings
from proxy.core.errors import ErrorKind
from proxy.core.settings import FromText
from proxy.http.message import Request

MakeRequest = Callable[..., Request]
SECRET = "a secret of more than thirty-two bytes, and of sixty-four as well, for HS512"
HASH = "sha256:" + sha256(b"the-key").hexdigest()
HEADER: dict[str, Any] = {"header": "X-User"}
COOKIE: dict[str, Any] = {"cookie": {"name": "sid", "secret": SECRET}}
API_KEY: dict[str, Any] = {"api_key": {"keys": {"bot": HASH}}}
JWT: dict[str, Any] = {"jwt": {"keys": [{"alg": "HS256", "secret": SECRET}]}}


def _identity(**settings: Any) -> Identity:
    return compile_identity(IdentitySettings.model_validate(settings))


def _peer() -> Client:
    return connection_client(("203.0.113.7", 1))


@pytest.fixture
def lines(signers: Any, now: float) -> dict[str, tuple[str, str]]:
    """Good credentials of every kind."""
    return {
        "header": ("X-User", "from-header"),
        "cookie": ("Cookie", "sid=" + sign_cookie("sid", "from-cookie", int(now) + 100, SECRET)),
        "api_key": ("X-API-Key", "the-key"),
        "jwt": ("Authorization", "Bearer " + signers["HS256"].token(sub="from-jwt", org="acme")),
    }


@pytest.mark.parametrize(
    ("sources", "carries", "is_trusted", "user", "via"),
    [
        pytest.param(HEADER, ["header"], True, "from-header", "header", id="header-from-a-trusted-peer"),
        pytest.param(HEADER, ["header"], False, None, "", id="header-from-anybody"),
        pytest.param(COOKIE, ["cookie"], False, "from-cookie", "cookie", id="cookie"),
        pytest.param(API_KEY, ["api_key"], False, "bot", "api_key", id="api-key"),
        pytest.param(JWT, ["jwt"], False, "from-jwt", "jwt", id="token"),
        pytest.param([JWT, API_KEY], ["api_key", "jwt"], False, "from-jwt", "jwt", id="first-in-order"),
        pytest.param([API_KEY, JWT], ["api_key", "jwt"], False, "bot", "api_key", id="other-order"),
        pytest.param([JWT, API_KEY], ["api_key"], False, "bot", "api_key", id="the-first-that-is-there"),
        pytest.param([HEADER, JWT], ["header", "jwt"], False, "from-jwt", "jwt", id="forged-header-is-passed-over"),
        pytest.param([HEADER, JWT], ["header", "jwt"], True, "from-header", "header", id="trusted-header-first"),
        pytest.param([HEADER, COOKIE, API_KEY, JWT], [], True, None, "", id="nothing-there"),
    ],
)
def test_the_first_source_that_is_there_decides(
    make_request: MakeRequest,
    lines: dict[str, tuple[str, str]],
    now: float,
    sources: Any,
    carries: list[str],
    is_trusted: bool,
    user: str | None,
    via: str,
) -> None:
    request = make_request(*[lines[name] for name in carries])
    base = _peer()
    for _ in range(2):  # the second time from memory
        client = _identity(user=sources).client_of(base, request, is_trusted, now)
        assert (client.user, client.via, client.error) == (user, via, None)
        assert client.address == "203.0.113.7"


def test_wrong_credentials_are_not_passed_over(
    make_request: MakeRequest, lines: dict[str, tuple[str, str]], now: float
) -> None:
    request = make_request(("Authorization", "Bearer forged"), lines["api_key"])
    client = _identity(user=[JWT, API_KEY]).client_of(_peer(), request, False, now)
    assert (client.user, client.error, client.fault) == (None, ErrorKind.UNAUTHENTICATED, "malformed")


@pytest.mark.parametrize(
    "values",
    [["mallory", "alice"], ["a\u200bb"], ["x" * 257], [b"\xff"]],
    ids=["twice", "invisible", "long", "not-utf-8"],
)
def test_a_header_with_no_plain_name_is_an_error(make_request: MakeRequest, now: float, values: list[Any]) -> None:
    request = make_request(*[("X-User", value) for value in values])
    client = _identity(user=HEADER).client_of(_peer(), request, True, now)
    assert (client.user, client.error) == (None, ErrorKind.UNAUTHENTICATED)


@pytest.mark.parametrize("name", ["Doe, Jane", "alice@example.com", "Åsa"])
def test_a_name_may_have_commas_and_letters(make_request: MakeRequest, now: float, name: str) -> None:
    assert _identity(user=HEADER).client_of(_peer(), make_request(("X-User", name)), True, now).user == name


@pytest.mark.parametrize(
    ("tenant", "is_trusted", "found"),
    [
        ({"header": "X-Org"}, True, "from-header"),
        ({"header": "X-Org"}, False, None),
        ({"claim": "org"}, True, "acme"),
        ({"claim": "org"}, False, "acme"),
        ({"claim": "none"}, False, None),
    ],
)
def test_a_tenant_comes_from_a_trusted_field_or_a_verified_claim(
    make_request: MakeRequest,
    lines: dict[str, tuple[str, str]],
    now: float,
    tenant: dict[str, str],
    is_trusted: bool,
    found: str | None,
) -> None:
    request = make_request(lines["jwt"], ("X-Org", "from-header"))
    client = _identity(user=JWT, tenant=tenant).client_of(_peer(), request, is_trusted, now)
    assert (client.user, client.tenant) == ("from-jwt", found)


@pytest.mark.parametrize(
    ("plan", "is_trusted", "found"),
    [
        ({"header": "X-Plan"}, True, "from-header"),
        ({"header": "X-Plan"}, False, None),
        ({"claim": "tier"}, False, "gold"),
        ({"claim": "none"}, False, None),
    ],
)
def test_a_plan_comes_from_a_trusted_field_or_a_verified_claim(
    make_request: MakeRequest, signers: Any, now: float, plan: dict[str, str], is_trusted: bool, found: str | None
) -> None:
    token = "Bearer " + signers["HS256"].token(sub="ana", tier="gold")
    request = make_request(("Authorization", token), ("X-Plan", "from-header"))
    client = _identity(user=JWT, plan=plan).client_of(_peer(), request, is_trusted, now)
    assert (client.user, client.plan) == ("ana", found)


def test_a_forged_token_brings_no_plan(make_request: MakeRequest, signers: Any, now: float) -> None:
    token = "Bearer " + signers["HS256"].token(sub="ana", tier="gold")[:-4] + "AAAA"
    client = _identity(user=JWT, plan={"claim": "tier"}).client_of(
        _peer(), make_request(("Authorization", token)), False, now
    )
    assert (client.user, client.plan) == (None, None)


def test_an_api_key_may_have_a_plan(make_request: MakeRequest, now: float) -> None:
    keys = {"bot": {"hash": HASH, "plan": "pro"}}
    request = make_request(("X-API-Key", "the-key"), ("X-Plan", "gold"))
    identity = _identity(user={"api_key": {"keys": keys}})
    assert identity.client_of(_peer(), request, False, now).plan == "pro"
    assert identity.client_of(_peer(), make_request(("X-API-Key", "other")), False, now).plan is None
    trusting = _identity(user={"api_key": {"keys": keys}}, plan={"header": "X-Plan"})
    assert trusting.client_of(_peer(), request, True, now).plan == "gold"
    assert trusting.client_of(_peer(), request, False, now).plan == "pro"
    assert trusting.private_fields == {b"x-plan"}


def test_a_tenant_needs_no_user(make_request: MakeRequest, now: float) -> None:
    identity = _identity(tenant={"header": "X-Org"})
    client = identity.client_of(_peer(), make_request(("X-Org", "acme")), True, now)
    assert (client.user, client.tenant, client.error) == (None, "acme", None)


def test_fields_that_name_users_are_private() -> None:
    identity = _identity(user=[HEADER, API_KEY, JWT], tenant={"header": "X-Org"})
    assert identity.private_fields == {b"x-user", b"x-org"}
    assert _identity(user=[API_KEY, JWT]).private_fields == frozenset()


def test_a_connection_remembers_its_last_credentials(
    make_request: MakeRequest, lines: dict[str, tuple[str, str]], now: float
) -> None:
    identity = _identity(user=JWT)
    peer, request = _peer(), make_request(lines["jwt"])
    first = identity.client_of(peer, request, False, now)
    assert identity.client_of(peer, request, False, now) is first
    assert identity.client_of(peer, make_request(("Authorization", "Bearer forged")), False, now).user is None
    assert identity.client_of(peer, make_request(), False, now) is peer
    assert identity.client_of(peer, request, False, now + 700).fault == "expired"


def test_the_memory_of_a_connection_ends_with_the_configuration(
    make_request: MakeRequest, lines: dict[str, tuple[str, str]], now: float
) -> None:
    peer, request = _peer(), make_request(lines["api_key"])
    assert _identity(user=API_KEY).client_of(peer, request, False, now).user == "bot"
    other = {"api_key": {"keys": {"other": "sha256:" + "0" * 64}}}
    assert _identity(user=other).client_of(peer, request, False, now).user is None


def test_a_connection_of_a_proxy_remembers_nobody(
    make_request: MakeRequest, lines: dict[str, tuple[str, str]], now: float
) -> None:
    peer = _peer()
    _identity(user=JWT).client_of(peer, make_request(lines["jwt"]), True, now)
    assert peer.memo is None


def test_without_settings_there_is_nothing_to_do() -> None:
    identity = compile_identity(None)
    assert not identity.is_active
    assert not identity.needs_jwks
    assert not identity.has_sources
    assert identity.status() == {"sources": [], "key_sets": [], "refused_tokens": {}}


def test_the_status_counts_refusals_and_shows_no_secret(make_request: MakeRequest, now: float) -> None:
    identity = _identity(user=[JWT, COOKIE])
    for _ in range(3):
        identity.client_of(_peer(), make_request(("Authorization", "Bearer forged")), False, now)
    status = identity.status()
    assert status["sources"] == ["jwt", "cookie"]
    assert status["refused_tokens"] == {"malformed": 1}  # the same token again comes from memory
    assert SECRET not in json.dumps(status)


def test_keys_are_read_from_files(
    tmp_path: Path, signers: Any, make_request: MakeRequest, lines: dict[str, tuple[str, str]], now: float
) -> None:
    (tmp_path / "api-keys").write_text(f"bot: {HASH}\n")
    (tmp_path / "key.pem").write_text(signers["ES256"].pem)
    settings = IdentitySettings.model_validate(
        {"user": [{"api_key": {"file": "api-keys"}}, {"jwt": {"keys": "key.pem"}}]},
        context=FromText(str(tmp_path)),
    )
    identity = compile_identity(settings)
    assert identity.client_of(_peer(), make_request(lines["api_key"]), False, now).user == "bot"
    token = make_request(("Authorization", "Bearer " + signers["ES256"].token()))
    assert identity.client_of(_peer(), token, False, now).user == "alice"
    (tmp_path / "api-keys").write_text("# withdrawn\n")
    reloaded = compile_identity(settings, identity)
    assert reloaded.client_of(_peer(), make_request(lines["api_key"]), False, now).user is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"user": {"jwt": {"keys": "none.pem"}}}, "cannot read the keys in `none.pem`: no such file"),
        ({"user": {"api_key": {"file": "none"}}}, "cannot read the API keys in `none`"),
        ({"user": {"api_key": {"keys": {"a": HASH, "b": HASH}}}}, "are the same key"),
        ({"user": {"jwt": {"keys": [{"alg": "RS256", "pem": "x"}]}}}, "`pem` is not a public key for RS256"),
    ],
)
def test_what_cannot_be_compiled_is_said_in_one_sentence(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        _identity(**settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"user": {}}, "is one of `header`, `cookie`, `api_key` and `jwt`"),
        ({"user": {**HEADER, **API_KEY}}, "is one of"),
        ({"user": {"header": "Connection"}}, "belongs to the connection"),
        ({"user": {"header": "Host"}}, "belongs to the connection"),
        ({"user": {"header": "X User"}}, "is not the name of a field"),
        ({"user": {"cookie": {"name": "s id", "secret": SECRET}}}, "is not the name of a cookie"),
        ({"user": {"cookie": {"name": "sid", "secret": "short"}}}, "has 5 bytes and needs 32"),
        ({"user": {"api_key": {}}}, "needs `keys`, `file`, or both"),
        ({"user": {"api_key": {"keys": {"a": "the-key-itself"}}}}, "is not the hash of a key"),
        ({"user": {"api_key": {"keys": {"a b": HASH}}}}, "the id of a key"),
        ({"user": {"jwt": {"keys": "http://id.test/jwks.json"}}}, "can be replaced on the way"),
        ({"user": {"jwt": {"keys": "ftp://id.test/jwks.json"}}}, "can be replaced on the way"),
        ({"user": {"jwt": {"keys": []}}}, "at least one key"),
        ({"user": {"jwt": {"keys": [{"alg": "HS256", "secret": "short"}]}}}, "has 5 bytes, and HS256 needs 32"),
        ({"user": {"jwt": {"keys": [{"alg": "HS512", "secret": SECRET[:63]}]}}}, "HS512 needs 64"),
        ({"user": {"jwt": {"keys": [{"alg": "HS256", "pem": "x"}]}}}, "has `secret` and no `pem`"),
        ({"user": {"jwt": {"keys": [{"alg": "RS256", "secret": SECRET}]}}}, "has `pem` and no `secret`"),
        ({"user": {"jwt": {"keys": [{"alg": "none"}]}}}, "Input should be"),
        ({"user": {"jwt": {"keys": "https://id.test/k", "algorithms": ["HS256"]}}}, "could sign with HS"),
        ({"user": {"jwt": {"keys": "https://id.test/k", "algorithms": ["none"]}}}, "Input should be"),
        ({"user": {"jwt": {"keys": "https://id.test/k", "algorithms": []}}}, "at least 1"),
        ({"user": {"jwt": {"keys": "k.pem", "header": "X-A", "cookie": "a"}}}, "not in both"),
        ({"user": {"jwt": {"keys": "k.pem", "leeway": 3600}}}, "less than or equal to 300"),
        ({"tenant": {}}, "from a `header` or from a `claim`"),
        ({"tenant": {"header": "X-Org", "claim": "org"}}, "from a `header` or from a `claim`"),
        ({"user": HEADER, "tenant": {"claim": "org"}}, "needs a user from a `jwt`"),
        ({"plan": {"header": "X-Plan", "claim": "plan"}}, "a plan comes from a `header` or from a `claim`"),
        ({"user": HEADER, "plan": {"claim": "plan"}}, "a plan from a `claim` needs a user from a `jwt`"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words) as caught:
        IdentitySettings.model_validate(settings)
    assert "the-key-itself" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://id.test/jwks.json", "http://127.0.0.1:8000/k", "http://localhost/k", "http://[::1]/k"]
)
def test_keys_come_over_tls_or_from_this_machine(url: str) -> None:
    identity = _identity(user={"jwt": {"keys": url}})
    assert identity.needs_jwks
    assert identity.key_sets[0].url == url


def test_secrets_are_not_in_dumps() -> None:
    settings = IdentitySettings.model_validate({"user": [COOKIE, JWT]})
    assert SECRET not in settings.model_dump_json()
    assert SECRET not in repr(settings)
