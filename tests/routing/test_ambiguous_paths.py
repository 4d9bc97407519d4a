"""No spelling of a guarded path escapes its route (W4)."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http.targets import BadTarget, canonical_path
from proxy.routing.readings import other_readings
from proxy.routing.route import Route
from proxy.routing.table import Match, Refusal, RouteTable

MakeRoute = Callable[..., Route]


@pytest.fixture(scope="session")
def guarded(make_route: MakeRoute) -> RouteTable:
    return RouteTable(
        [make_route("/admin/**", name="guard"), make_route("/users/@me", name="guard"), make_route("/**", name="open")]
    )


def _outcome(table: RouteTable, raw: str) -> str:
    try:
        path = canonical_path(raw.encode())
    except BadTarget:
        return "refused"
    found = table.match("h", b"GET", path)
    return found.route.name if isinstance(found, Match) else "refused"


@pytest.mark.parametrize(
    "raw",
    [
        "/admin",
        "/admin/",
        "/admin/x",
        "//admin/x",
        "/%61dmin/x",
        "/%61%64%6d%69%6e",
        "/admin%2Fx",
        "/admin%2fx",
        "/admin%5Cx",
        "/admin\\x",
        "/admin;a=b/x",
        "/admin;",
        "/admin%3Ba/x",
        "/;/admin/x",
        "/;a/admin",
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/x/..%2Fadmin",
        "/x%2F..%2Fadmin",
        "/x%2f%2e%2e%2fadmin",
        "/x\\..\\admin",
        "/x/..;/admin",
        "/x;/..;a/admin",
        "/./admin",
        "/.%2Fadmin",
        "/%2Fadmin",
        "/%2F%2Fadmin",
        "\\admin",
        "/%5Cadmin",
        "/%2561dmin",
        "/admin%252Fx",
        "/x%252F..%252Fadmin",
        "/%25%36%31dmin",
        "/admin%00",
        "/users/%40me",
        "/users/%40%6De",
        "/users//@me/",
        "/users%2F@me",
    ],
)
def test_a_spelling_of_a_guarded_path_is_guarded_or_refused(guarded: RouteTable, raw: str) -> None:
    assert _outcome(guarded, raw) in ("guard", "refused")


@pytest.mark.parametrize(
    "raw",
    ["/a%2Fb", "/@scope%2Fname", "/a;b=c", "/caf%C3%A9", "/administrator", "/a%5Cb", "/100%25", "/users/you%2Fme"],
)
def test_an_odd_path_whose_readings_agree_passes(guarded: RouteTable, raw: str) -> None:
    assert _outcome(guarded, raw) == "open"


def test_a_reading_without_a_route_is_a_difference_too(make_route: MakeRoute) -> None:
    table = RouteTable([make_route("/files/{name}")])
    assert isinstance(table.match("h", b"GET", "/files/a"), Match)
    found = table.match("h", b"GET", "/files/x%2F..%2F..%2Finternal")
    assert isinstance(found, Refusal)
    assert found.kind.value == "request_malformed"


_PIECES = (
    "/ // %2F %2f \\ %5C ; ;a=b %3B . .. %2e %2E%2e %252F %2561 %25 %253B %255C %252e %25252F "
    "a admin %61dmin adm%69n x %40 @ %20 %C3%A9 users me"
).split()


def _backends() -> list[Callable[[str], str]]:
    """What real backends make of a path, one reading each."""

    def resolve(path: str) -> str:
        out: list[str] = []
        for segment in path.split("/"):
            if segment == "..":
                del out[-1:]
            elif segment not in ("", "."):
                out.append(segment)
        return "/" + "/".join(out)

    def without_parameters(path: str) -> str:
        return "/".join(segment.partition(";")[0] for segment in path.split("/"))

    def slashes(path: str) -> str:
        return path.replace("\\", "/")

    return [
        lambda path: resolve(path),
        lambda path: resolve(unquote(path)),
        lambda path: resolve(slashes(unquote(path))),
        lambda path: resolve(slashes(path)),
        lambda path: resolve(without_parameters(path)),
        lambda path: resolve(unquote(without_parameters(path))),
        lambda path: resolve(without_parameters(unquote(path))),
        lambda path: resolve(unquote(resolve(path))),
        lambda path: resolve(unquote(unquote(path))),
        lambda path: resolve(slashes(unquote(unquote(path)))),
    ]


def _assert_no_escape(table: RouteTable, raw: str) -> None:
    if _outcome(table, raw) == "open":
        for read in _backends():
            seen = read(raw)
            assert seen not in ("/admin", "/users/@me"), raw
            assert not seen.startswith("/admin/"), raw


@given(st.lists(st.sampled_from(_PIECES), min_size=1, max_size=7).map(lambda pieces: "/" + "".join(pieces)))
def test_what_reaches_the_open_route_is_read_as_guarded_by_no_backend(guarded: RouteTable, raw: str) -> None:
    _assert_no_escape(guarded, raw)


@pytest.mark.parametrize("seed", range(3))
def test_thousands_of_seeded_spellings_do_not_escape(guarded: RouteTable, seed: int) -> None:
    rng = Random(seed)
    outcomes = set()
    for _ in range(4_000):
        raw = "/" + "".join(rng.choices(_PIECES, k=rng.randint(1, 7)))
        outcomes.add(_outcome(guarded, raw))
        _assert_no_escape(guarded, raw)
    assert outcomes == {"guard", "open", "refused"}


@pytest.mark.parametrize(
    ("path", "readings"),
    [
        pytest.param("/a/b-c.d~e_f", (), id="plain"),
        pytest.param("/caf%C3%A9/%20%40", (), id="harmless-escapes"),
        pytest.param("/a%2Fb", ("/a/b",), id="encoded-slash"),
        pytest.param("/a;v=1/b", ("/a/b",), id="path-parameter"),
        pytest.param("/a%2541", ("/aA",), id="decoded-twice"),
    ],
)
def test_the_other_readings_of_a_path(path: str, readings: tuple[str, ...]) -> None:
    assert other_readings(path) == readings


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/" + "a%2F" * 100, id="segments"),
        pytest.param("/" + "a;%2Fb\\%5C%3B%252F/" * 8, id="readings"),
    ],
)
def test_a_path_with_too_many_readings_is_refused(guarded: RouteTable, path: str) -> None:
    assert other_readings(path) is None
    assert _outcome(guarded, path) == "refused"
