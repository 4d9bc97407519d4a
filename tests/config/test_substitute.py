"""`${NAME}`, `${NAME:-default}`, `${file:...}` and `$$`."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.document import Document
from proxy.config.source import parse

ENVIRONMENT = {"NAME": "value", "EMPTY": "", "YAML": "a: [1, 2]\nb: 3", "AGAIN": "${NAME}", "PORT": "8080"}


def read(text: str, folder: str = "") -> Document:
    return parse(text.encode(), f"{folder}/proxy.yaml" if folder else "proxy.yaml", ENVIRONMENT)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("${NAME}", "value"),
        ("http://${NAME}:${PORT}/x", "http://value:8080/x"),
        ("'${NAME}'", "value"),
        ("${MISSING:-fallback}", "fallback"),
        ("${EMPTY:-fallback}", "fallback"),
        ("${EMPTY}", ""),
        ("${MISSING:-}", ""),
        ("${MISSING:-a:-b}", "a:-b"),
        ("$$", "$"),
        ("$${NAME}", "${NAME}"),
        ("$$$$", "$$"),
        ("a$b", "a$b"),
        ("cost: $5", None),
    ],
)
def test_a_substitution_becomes_text(written: str, value: str | None) -> None:
    document = read(f"key: {written}" if value is not None else "key: 'cost: $5'")
    assert document.plain() == {"key": value if value is not None else "cost: $5"}


def test_a_substituted_value_cannot_become_structure() -> None:
    assert read("key: ${YAML}\n").plain() == {"key": "a: [1, 2]\nb: 3"}


def test_what_a_substitution_gives_is_not_looked_at_again() -> None:
    assert read("key: ${AGAIN}\n").plain() == {"key": "${NAME}"}


def test_keys_are_not_substituted() -> None:
    assert read("${NAME}: 1\n").plain() == {"${NAME}": 1}


def test_a_file_gives_its_text_without_the_final_line_break(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cr3t\n")
    assert read("key: ${file:secret}", str(tmp_path)).plain() == {"key": "s3cr3t"}
    assert read(f"key: ${{file:{tmp_path}/secret}}").plain() == {"key": "s3cr3t"}


@pytest.mark.parametrize(
    ("written", "message", "hint"),
    [
        ("${MISSING}", "the environment variable `MISSING` is not set", "set it, or write ${MISSING:-default}"),
        ("${NAME", "`${` is not closed", "write ${NAME}, or $${ for the text itself"),
        ("${}", "`${}` is not a substitution", "write ${NAME}, ${NAME:-default} or ${file:/path}"),
        ("${NAME:?x}", "`${NAME:?x}` is not a substitution", "write ${NAME}, ${NAME:-default} or ${file:/path}"),
        ("${file:/nowhere/x}", "cannot read `/nowhere/x`: no such file or directory", ""),
        ("${file:}", "cannot read ``: is a directory", ""),
    ],
)
def test_what_cannot_be_resolved_is_an_error_at_its_place(written: str, message: str, hint: str) -> None:
    document = read(f'a: 1\nkey: "{written}"\n')
    (diagnostic,) = document.diagnostics
    assert (diagnostic.message, diagnostic.hint) == (message, hint)
    assert (diagnostic.code, diagnostic.line, diagnostic.column) == ("WEIR0108", 2, 6)


def test_a_large_or_binary_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "large").write_text("x" * 70_000)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    document = read("a: ${file:large}\nb: ${file:binary}\n", str(tmp_path))
    assert [diagnostic.message for diagnostic in document.diagnostics] == [
        "`large` is larger than 64 KiB",
        "`binary` is not UTF-8 text",
    ]
