"""What is said of a connection string without connecting."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.database.connection_string import Mode, look_at, parse_connection_string

PARSED = [
    pytest.param("postgresql://ana:x@db.internal:6432/shop", ("db.internal", 6432, "ana", "x", "shop"), id="whole"),
    pytest.param("postgres://ana@db/shop", ("db", 5432, "ana", None, "shop"), id="no port, no password"),
    pytest.param("postgresql://ana:x@db", ("db", 5432, "ana", "x", "ana"), id="the user's database"),
    pytest.param("postgresql://a%40b:p%2F%40%3A@db/x", ("db", 5432, "a@b", "p/@:", "x"), id="percent-encoded"),
    pytest.param("postgresql://ana@[::1]:7000/x", ("::1", 7000, "ana", None, "x"), id="IPv6"),
    pytest.param("postgresql://ana@%2Frun%2Fpg:6432/x", ("/run/pg", 6432, "ana", None, "x"), id="unix socket"),
    pytest.param(
        "postgresql://ana@/x?host=/run/pg", ("/run/pg", 5432, "ana", None, "x"), id="unix socket as parameter"
    ),
    pytest.param("postgresql+asyncpg://ana@db/x", ("db", 5432, "ana", None, "x"), id="SQLAlchemy"),
    pytest.param(" postgresql://ana@db/x\n", ("db", 5432, "ana", None, "x"), id="white space around"),
]


@pytest.mark.parametrize(("text", "parts"), PARSED)
def test_a_connection_string_is_taken_apart(text: str, parts: tuple[object, ...]) -> None:
    string = parse_connection_string(text)
    assert (string.host, string.port, string.user, string.password, string.database) == parts


REFUSED = [
    pytest.param("", "this is not a connection string", id="empty"),
    pytest.param("shop", "this is not a connection string", id="a word"),
    pytest.param("host=db port=5432 user=ana password=canary", "this is the form with", id="key and value"),
    pytest.param("mysql://ana:canary@db/x", "it begins with `mysql://`", id="another database"),
    pytest.param("postgresql://ana:canary@db:port/x", "its port or address is malformed", id="port"),
    pytest.param("postgresql://ana:canary@db:99999/x", "its port or address is malformed", id="port too large"),
    pytest.param("postgresql://ana:canary@[::1/x", "its port or address is malformed", id="bracket"),
    pytest.param("postgresql://db/x", "it names no user", id="no user"),
    pytest.param("postgresql://ana:canary@/x", "it names no host", id="no host"),
    pytest.param("postgresql://ana:canary@a:1,b:2/x", "it", id="several hosts"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_what_is_none_is_refused_without_its_password(text: str, message: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_connection_string(text)
    assert str(refused.value).startswith(message)
    assert "canary" not in str(refused.value)


SUPAVISOR = "aws-0-eu-west-1.pooler.supabase.com"
LOOKED_AT = [
    pytest.param("a@127.0.0.1:6432/x", "transaction", [], id="a pooler on this machine"),
    pytest.param("a@127.0.0.1:5432/x", "transaction", ["note: 5432 is Postgres' own port"], id="Postgres' port"),
    pytest.param("a@127.0.0.1:5432/x", "direct", [], id="Postgres' port, and that is meant"),
    pytest.param("a@db:6432/x", "transaction", ["warning: without sslmode"], id="no TLS"),
    pytest.param("a@db:6432/x?sslmode=prefer", "transaction", ["warning: sslmode=prefer"], id="TLS perhaps"),
    pytest.param("a@db:6432/x?sslmode=require", "transaction", [], id="TLS"),
    pytest.param("a@db:6432/x?sslmode=on", "transaction", ["error: `sslmode=on` does not exist"], id="TLS misspelt"),
    pytest.param(
        f"postgres.ref@{SUPAVISOR}:6543/postgres?sslmode=require",
        "transaction",
        ["ok: port 6543 of Supavisor is transaction mode"],
        id="Supavisor, transaction",
    ),
    pytest.param(
        f"postgres.ref@{SUPAVISOR}:5432/postgres?sslmode=require",
        "transaction",
        ["error: port 5432 of Supavisor is session mode"],
        id="Supavisor, session",
    ),
    pytest.param(
        f"postgres@{SUPAVISOR}:6543/postgres?sslmode=require",
        "transaction",
        ["ok: port 6543", "error: Supavisor finds the project by the user's name"],
        id="Supavisor without a project",
    ),
    pytest.param(
        f"postgres.ref@{SUPAVISOR}:6543/x?sslmode=require", "session", ["error: port 6543"], id="Supavisor, wrong mode"
    ),
    pytest.param(
        f"postgres.ref@{SUPAVISOR}:6432/x?sslmode=require",
        "session",
        ["error: Supavisor does not"],
        id="Supavisor, port",
    ),
    pytest.param(
        "postgres@db.ref.supabase.co:5432/postgres?sslmode=require",
        "transaction",
        ["error: this is the database itself"],
        id="Supabase, direct",
    ),
    pytest.param(
        "postgres@db.ref.supabase.co:6543/postgres?sslmode=require",
        "transaction",
        ["ok: port 6543 of a project's own host"],
        id="Supabase, own PgBouncer",
    ),
    pytest.param(
        "a@ep-cool-1.eu.aws.neon.tech/x?sslmode=require",
        "transaction",
        ["error: this host is the database itself"],
        id="Neon, direct",
    ),
    pytest.param(
        "a@127.0.0.1:6432/x?pgbouncer=true&connection_limit=1",
        "transaction",
        ["note: `pgbouncer` is for Prisma", "note: `connection_limit` is for Prisma"],
        id="Prisma",
    ),
    pytest.param(
        "a@127.0.0.1:6432/x?options=-csearch_path%3Da",
        "transaction",
        ["warning: `options` is a setting of the session"],
        id="a setting of the session",
    ),
    pytest.param("a@127.0.0.1:6432/x?sslmod=require", "transaction", ["warning: `sslmod` is no parameter"], id="typo"),
    pytest.param("a:b@c@127.0.0.1:6432/x", "transaction", ["warning: the password or user has a character"], id="@"),
]


@pytest.mark.parametrize(("rest", "mode", "expected"), LOOKED_AT)
def test_what_the_text_alone_tells(rest: str, mode: Mode, expected: list[str]) -> None:
    found = [f"{one.level}: {one.text}" for one in look_at(parse_connection_string(f"postgresql://{rest}"), mode)]
    assert len(found) == len(expected), found
    for line, beginning in zip(found, expected, strict=True):
        assert line.startswith(beginning)


@given(st.text(max_size=80), st.sampled_from(get_args(Mode)))
def test_no_text_breaks_the_parser(text: str, mode: Mode) -> None:
    for candidate in (text, f"postgresql://{text}", f"postgresql://ana:word@{text}"):
        try:
            string = parse_connection_string(candidate)
        except ValueError:
            continue
        assert 0 < string.port < 65536 or string.port == 0
        list(look_at(string, mode))


@given(st.text(alphabet=st.characters(codec="utf-8", categories=("L", "N")), min_size=12, max_size=20))
def test_nothing_said_holds_the_password(password: str) -> None:
    password = f"canary{password}"
    string = parse_connection_string(f"postgresql://ana:{password}@db.internal:5432/shop?sslmode=on&options=x&typo=1")
    assert string.password == password
    said = [string.label, repr(string), *(one.text + one.advice for one in look_at(string, "transaction"))]
    assert not [text for text in said if password in text]
