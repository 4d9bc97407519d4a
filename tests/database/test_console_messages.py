"""The bytes of the console's protocol, and signing in as RFC 7677 has it."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.database.console_url import parse_console_url
from proxy.database.messages import ProtocolError, Scram, columns, md5_password, message, notice, startup, values

NONCE = "rOprNGfwEbeRWgbNEkqO"
SERVER_FIRST = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
PROOF = b"dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_the_example_of_rfc_7677_comes_out_but_for_the_name() -> None:
    # §3 has `n=user` in the signed text; Postgres takes the name from the startup message and leaves it empty here
    scram = Scram("pencil", NONCE)
    scram._bare = f"n=user,r={NONCE}"
    assert scram.final(SERVER_FIRST).rpartition(b"p=")[2] == PROOF
    scram.verify(SERVER_FINAL)


def test_the_first_message_names_the_method_and_its_own_length() -> None:
    first = Scram("pencil", NONCE).first()
    method, _, rest = first.partition(b"\0")
    assert method == b"SCRAM-SHA-256"
    assert struct.unpack("!i", rest[:4]) == (len(rest) - 4,)
    assert rest[4:] == f"n,,n=,r={NONCE}".encode()


CHALLENGES = [
    pytest.param(b"", "malformed", id="empty"),
    pytest.param(b"\xff\xfe", "malformed", id="not text"),
    pytest.param(SERVER_FIRST.replace(b"s=W", b"s=!"), "malformed", id="salt"),
    pytest.param(SERVER_FIRST.replace(b"i=4096", b"i=many"), "malformed", id="iterations"),
    pytest.param(SERVER_FIRST.replace(b"i=4096", b"i=99999999"), "unreasonable", id="iterations for ever"),
    pytest.param(SERVER_FIRST.replace(b"i=4096", b"i=0"), "unreasonable", id="no iterations"),
    pytest.param(SERVER_FIRST.replace(b"r=rO", b"r=xx"), "nonce", id="another's nonce"),
    pytest.param(f"r={NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".encode(), "nonce", id="our nonce and no more"),
]


@pytest.mark.parametrize(("challenge", "reason"), CHALLENGES)
def test_a_bad_challenge_is_refused(challenge: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        Scram("pencil", NONCE).final(challenge)


@pytest.mark.parametrize("answer", [b"", b"v=", b"e=other-error", SERVER_FINAL[:-2] + b"A="])
def test_a_server_that_does_not_know_the_password_is_not_believed(answer: bytes) -> None:
    scram = Scram("pencil", NONCE)
    scram.final(SERVER_FIRST)
    with pytest.raises(ProtocolError, match="cannot prove"):
        scram.verify(answer)


def test_the_old_method_hashes_twice() -> None:
    # md5(md5("wordana") + "salt"), by md5sum
    assert md5_password("ana", "word", b"salt") == b"md59f5ca2d977620fb5e8ddcb9a9ad85f19"
    assert md5_password("ana", "word", b"salt") != md5_password("ana", "word", b"tlas")


@given(st.lists(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=9), max_size=9))
def test_names_of_columns_are_read_back(names: list[str]) -> None:
    content = struct.pack("!h", len(names)) + b"".join(name.encode() + b"\0" + bytes(18) for name in names)
    assert columns(content) == names


@given(st.lists(st.none() | st.text(alphabet=st.characters(codec="utf-8"), max_size=9), max_size=9))
def test_rows_are_read_back(texts: list[str | None]) -> None:
    content = struct.pack("!h", len(texts))
    for text in texts:
        content += struct.pack("!i", -1) if text is None else struct.pack("!i", len(text.encode())) + text.encode()
    assert values(content) == texts


def test_a_message_counts_itself_but_not_its_kind() -> None:
    assert message(b"Q", b"SHOW POOLS\0") == b"Q\x00\x00\x00\x0fSHOW POOLS\0"
    assert startup("ana", "pgbouncer")[:8] == struct.pack("!ii", len(startup("ana", "pgbouncer")), 196608)
    assert notice(b"SERROR\0C08P01\0Mno such user\0\0") == "no such user"
    assert notice(b"\0") == "no reason given"


ADDRESSES = [
    pytest.param("postgresql://weir:a%40b@127.0.0.1:6432/pgbouncer", ("127.0.0.1", 6432, "weir", "a@b"), id="TCP"),
    pytest.param("postgres://weir@[::1]/pgbouncer", ("::1", 6432, "weir", ""), id="IPv6, usual port"),
    pytest.param("postgresql://weir@%2Frun%2Fpg:6432/pgbouncer", ("/run/pg", 6432, "weir", ""), id="unix socket"),
]


@pytest.mark.parametrize(("text", "parts"), ADDRESSES)
def test_the_console_has_an_address(text: str, parts: tuple[object, ...]) -> None:
    address = parse_console_url(text)
    assert (address.host, address.port, address.user, address.password) == parts


REFUSED = [
    pytest.param("http://weir:canary@127.0.0.1/pgbouncer", "does not begin with", id="scheme"),
    pytest.param("postgresql://weir:canary@127.0.0.1/shop", "is the database `pgbouncer`", id="another database"),
    pytest.param("postgresql://weir:canary@127.0.0.1:x/pgbouncer", "malformed port", id="port"),
    pytest.param("postgresql://127.0.0.1/pgbouncer", "names no user", id="user"),
    pytest.param("postgresql://weir:canary@/pgbouncer", "names no host", id="host"),
    pytest.param("postgresql://weir:canary@127.0.0.1/pgbouncer?a=b", "takes no parameters", id="parameters"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_an_address_that_is_none_is_refused_without_its_password(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        parse_console_url(text)
    assert "canary" not in str(refused.value)
