"""YAML text becomes a tree with positions, and hostile text becomes a diagnostic."""

from __future__ import annotations

import time
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.document import Document, Span
from proxy.config.source import MAX_ALIASES, MAX_BYTES, MAX_DEPTH, MAX_VALUES, parse

LOADERS = [pytest.param(loader, id=loader.__name__) for loader in (yaml.CSafeLoader, yaml.SafeLoader)]


def read(text: str, **environment: str) -> Document:
    return parse(text.encode(), "proxy.yaml", environment)


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("10:30", "10:30"),
        ("2222:22", "2222:22"),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("True", True),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-3", -3),
        ("~", None),
        ("", None),
        ("2026-01-31", "2026-01-31"),
        ("=", "="),
        (".inf", ".inf"),
        ("'5'", "5"),
        ('"no"', "no"),
        ("9" * 41, "9" * 41),
    ],
)
def test_scalars_mean_what_yaml_1_2_says(written: str, value: Any, loader: Any) -> None:
    document = parse(f"key: {written}\n".encode(), "proxy.yaml", {}, loader=loader)
    assert document.plain() == {"key": value}
    assert type(document.plain()["key"]) is type(value)


def test_keys_are_always_text() -> None:
    assert read("1: a\nno: b\n~: c\n").plain() == {"1": "a", "no": "b", "~": "c"}


@pytest.mark.parametrize("loader", LOADERS)
def test_every_key_and_value_knows_its_place(loader: Any) -> None:
    text = "routes:\n  - name: a\n    match: {path: /x, methods: [GET, POST]}\n"
    document = parse(text.encode(), "proxy.yaml", {}, loader=loader)
    assert document.span(("routes", 0, "name"), of_key=True) == Span(2, 5, 4)
    assert document.span(("routes", 0, "name")) == Span(2, 11, 1)
    assert document.span(("routes", 0, "match", "path")) == Span(3, 19, 2)
    assert document.span(("routes", 0, "match", "methods", 1)) == Span(3, 38, 4)
    assert document.where(("routes", 0)) == "proxy.yaml:2"


def test_steps_that_are_not_in_the_file_are_passed_over() -> None:
    document = read("routes:\n  - name: a\n")
    assert document.span(("routes", 0, "RouteSettings", "name", "str")) == Span(2, 11, 1)


def test_a_value_behind_an_alias_stands_where_it_was_written() -> None:
    document = read("x-common: &common {path: /a}\nmatch: *common\n")
    assert document.plain()["match"] == {"path": "/a"}
    assert document.span(("match", "path")) == Span(1, 26, 2)


def test_a_byte_order_mark_is_not_part_of_the_first_key() -> None:
    assert parse(b"\xef\xbb\xbfa: 1\n", "proxy.yaml", {}).plain() == {"a": 1}


def _alias_bomb() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 10) + "]" for n in range(1, 10)]
    return "\n".join(lines)


BOMBS = {
    "aliases that repeat one another": (_alias_bomb(), "more than 20000 values"),
    "many aliases": ("a: &a 1\nb: [" + "*a, " * (MAX_ALIASES + 1) + "]", "more than 100 aliases"),
    "lists in lists": ("[" * 1_000_000, "nested deeper than 32 levels"),
    "mappings in mappings": ("{a: " * 250_000, "nested deeper than 32 levels"),
    "block lists in block lists": ("- " * 500_000, "nested deeper than 32 levels"),
    "keys in keys": ("? " * 500_000, "a key must be text"),
    "depth through aliases": (
        "a: &a " + "[" * 20 + "]" * 20 + "\nb: " + "[" * 20 + "*a" + "]" * 20,
        "nested deeper than 32 levels, aliases expanded",
    ),
    "ten megabytes": ("a: " + "x" * 10_000_000, "larger than 1 MiB"),
    "many values": ("a: [" + "1," * 500_000 + "]", "more than 20000 values"),
    "a list that contains itself": ("a: &a [*a]", "nothing before this is anchored as `&a`"),
    "the same key again and again": ("a: 1\n" * 200_000, "stands twice"),
}


@pytest.mark.parametrize(("text", "message"), BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_costs_no_more_than_the_largest_file_that_is_allowed(text: str, message: str) -> None:
    allowed, largest_s = _timed("a: [" + "1," * (MAX_VALUES - 10) + "]")
    assert not allowed.diagnostics
    refused, took_s = _timed(text)
    assert refused.root is None
    assert message in refused.diagnostics[0].message
    assert took_s < 2.0 * largest_s


def _timed(text: str) -> tuple[Document, float]:
    """Processor time, of two readings the quicker: the machine may be busy."""
    took_s = []
    for _ in range(2):
        started = time.process_time()
        document = parse(text.encode(), "proxy.yaml", {})
        took_s.append(time.process_time() - started)
    return document, min(took_s)


def test_what_stays_within_the_bounds_is_read() -> None:
    depth = MAX_DEPTH - 1
    assert not read("a: " + "[" * depth + "]" * depth).diagnostics
    aliases = "a: &a 1\nb: [" + ", ".join(["*a"] * MAX_ALIASES) + "]"
    assert len(read(aliases).plain()["b"]) == MAX_ALIASES
    assert not parse(b"a: " + b"x" * (MAX_BYTES - 3), "proxy.yaml", {}).diagnostics


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: !!python/object:os.system x\n", "tags such as `!!python/object:os.system` are not supported"),
        ("a: !!str 1\n", "tags such as `!!str` are not supported"),
        ("<<: {a: 1}\n", "merge keys (`<<`) are not supported"),
        ("--- 1\n--- 2\n", "a second document starts here"),
        ("? [a]\n: b\n", "a key must be text"),
        ("*a : b\n", "a key cannot be an alias"),
    ],
)
def test_what_only_surprises_is_refused(text: str, message: str) -> None:
    document = read(text)
    assert (document.root, document.diagnostics[0].message) == (None, message)


@given(st.binary(max_size=300) | st.text(alphabet="ab:-[]{}&*!|>'\"%@`#,?\n\t $~0", max_size=80).map(str.encode))
def test_no_text_at_all_raises(data: bytes) -> None:
    for loader in (yaml.CSafeLoader, yaml.SafeLoader):
        document = parse(data, "proxy.yaml", {}, loader=loader)
        assert (document.root is None) <= bool(document.diagnostics)


@given(st.text(alphabet="ab:-[]{}'\"#, \n~01", max_size=60))
def test_both_parsers_read_the_same(text: str) -> None:
    """Where both take a text. They differ in a few corners of what they refuse."""
    documents = [
        parse(text.encode(), "proxy.yaml", {}, loader=loader) for loader in (yaml.CSafeLoader, yaml.SafeLoader)
    ]
    if not any(document.diagnostics for document in documents):
        assert documents[0].plain() == documents[1].plain()
