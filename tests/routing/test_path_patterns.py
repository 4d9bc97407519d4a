"""The grammar of paths: what parses, what is refused and with which words, and which form is compared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http.targets import canonical_path
from proxy.routing.pattern import Kind, matching_form, parse_pattern, split_path


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        pytest.param("/", (), id="root"),
        pytest.param("/**", ((Kind.REST, ""),), id="everything"),
        pytest.param("/api/search", ((Kind.LITERAL, "api"), (Kind.LITERAL, "search")), id="literal"),
        pytest.param("/{id}/*", ((Kind.NAME, "id"), (Kind.ANY, "")), id="name-and-any"),
        pytest.param("/caf%c3%a9", ((Kind.LITERAL, "caf%C3%A9"),), id="escape-in-upper-case"),
        pytest.param("/café", ((Kind.LITERAL, "caf%C3%A9"),), id="outside-ascii-is-escaped"),
        pytest.param("/%7Euser", ((Kind.LITERAL, "~user"),), id="unreserved-is-decoded"),
        pytest.param("/%40me", ((Kind.LITERAL, "@me"),), id="reserved-is-decoded-for-comparing"),
        pytest.param("/a b", ((Kind.LITERAL, "a b"),), id="space"),
    ],
)
def test_a_pattern_is_parsed_into_segments(text: str, segments: object) -> None:
    assert parse_pattern(text).segments == segments


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the path `` does not begin with `/`"),
        ("api", "the path `api` does not begin with `/`"),
        ("/api/", "a final `/` makes no difference; write `/api`, or `/api/**` for all that is below it"),
        ("//", "a final `/` makes no difference; write `/`, or `/**` for all that is below it"),
        ("/a//b", "`/a//b` has an empty segment"),
        ("/**/b", "`**` stands for the rest of a path, so nothing can follow it in `/**/b`"),
        ("/*.png", "`*.png` in `/*.png` mixes `*` and text; `*` stands for a whole segment"),
        ("/a/x{id}", "`x{id}` in `/a/x{id}` is not a name in braces; `{name}` is a whole segment"),
        ("/{1}", "`{1}` in `/{1}` is not a name in braces; `{name}` is a whole segment"),
        ("/{}", "`{}` in `/{}` is not a name in braces; `{name}` is a whole segment"),
        ("/{a}/{a}", "`{a}` stands twice in `/{a}/{a}`"),
        ("/a?b=c", "`/a?b=c` has a query, and a path has none"),
        ("/a#b", "`/a#b` has a fragment, and a path has none"),
        ("/a/../b", "`/a/../b` is not a path: the path has dot segments"),
        ("/%zz", "`/%zz` is not a path: the path has a bad percent-escape"),
        ("/a%2Fb", "backends read `a%2Fb` in different ways, so requests for it are refused"),
        ("/a;b", "backends read `a;b` in different ways, so requests for it are refused"),
    ],
)
def test_a_wrong_pattern_is_refused_with_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_pattern(text)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/a/b", "/a/b"),
        ("/%40me", "/@me"),
        ("/a%20b", "/a b"),
        ("/a%2Fb", "/a%2Fb"),
        ("/a%5Cb%3Bc%25d%3Fe%23f", "/a%5Cb%3Bc%25d%3Fe%23f"),
        ("/caf%C3%A9", "/caf%C3%A9"),
        ("/%0A", "/%0A"),
    ],
)
def test_the_matching_form_decodes_what_cannot_change_the_structure(path: str, form: str) -> None:
    assert matching_form(path) == form


@given(st.text(alphabet="abc@!:%204F5C3B/", max_size=20))
def test_the_matching_form_keeps_the_segments_apart(text: str) -> None:
    try:
        path = canonical_path(b"/" + text.encode())
    except ValueError:
        return
    assert len(split_path(matching_form(path))) == len(split_path(path))


@pytest.mark.parametrize(
    ("path", "segments"),
    [("/", []), ("/a", ["a"]), ("/a/", ["a"]), ("/a/b/c", ["a", "b", "c"])],
)
def test_a_final_slash_makes_no_segment(path: str, segments: list[str]) -> None:
    assert split_path(path) == segments
