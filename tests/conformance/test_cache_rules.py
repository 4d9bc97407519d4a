"""The 37 rules of a shared cache, one test for each, between real sockets: a backend that says what the rule is about,
Weir as a process of its own, and a client that reads what came of it.

Time is not waited for: what is old says so itself, by Age or Date.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate

import pytest

from tests.line.backend import Backend, Call, Handler, Hub, Out
from tests.line.client import Answer
from tests.line.process import Weir, eventually

CONFIG = """
upstreams: {{app: {{primary: "{app}"}}}}
defaults: {{upstream: app, timeout: 5s}}
cache: {{memory: 8MiB, max_entry: 1MiB}}
routes:
  - {{name: rest, cache: {{}}}}
  - {{name: strip, match: {{path: /strip/**}}, cache: {{set_cookie: strip}}}}
  - {{name: keep, match: {{path: /keep/**}}, cache: {{set_cookie: store}}}}
  - {{name: still, match: {{path: /still/**}}, cache: {{honour_immutable: true}}}}
  - {{name: deaf, match: {{path: /deaf/**}}, cache: {{honour_request_directives: false}}}}
  - {{name: lax, match: {{path: /lax/**}}, cache: {{strict_s_maxage: false}}}}
"""

Line = tuple[str, str]


@pytest.fixture(scope="module")
def app() -> Iterator[Backend]:
    hub = Hub()
    yield Backend(hub, "app")
    hub.stop()


@pytest.fixture(scope="module")
def weir(app: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weir]:
    made = Weir(tmp_path_factory.mktemp("weir"), CONFIG.format(app=app.url))
    made.launch()
    yield made.ready()
    assert made.stop() == 0, made.stderr
    assert made.defects() == [], made.stderr


def says(*lines: Line, status: int = 200, content: bytes | None = None, early: bytes = b"") -> Handler:
    """Answers with exactly these field lines. The content is the number of the call where none is given."""
    count = 0

    async def handler(call: Call, out: Out) -> None:
        nonlocal count
        count += 1
        body = b"call %d" % count if content is None else content
        head = f"HTTP/1.1 {status} Some Reason\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines)
        if status in (204, 304):
            await out.raw(early + head.encode("latin-1") + b"\r\n")
            return
        length = b"Content-Length: %d\r\n\r\n" % len(body)
        await out.raw(early + head.encode("latin-1") + length + (b"" if call.method == "HEAD" else body))

    return handler


def in_turn(*handlers: Handler) -> Handler:
    """One after the other; the last one from then on."""
    left = list(handlers)

    async def handler(call: Call, out: Out) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(call, out)

    return handler


async def hangs_up(call: Call, out: Out) -> None:
    out.close()


def cc(value: str) -> Line:
    return "Cache-Control", value


def date(seconds: float = 0.0) -> str:
    return formatdate(time.time() + seconds, usegmt=True)


def status_of(answer: Answer) -> str:
    """Weir's member of Cache-Status, without its name."""
    return (answer.get("cache-status") or "").removeprefix("weir; ")


def is_hit(answer: Answer) -> bool:
    return status_of(answer).startswith("hit; ttl=") and not status_of(answer).startswith("hit; ttl=-")


class Paths:
    """Gives each case of a test a path of its own."""

    def __init__(self, app: Backend, weir: Weir, prefix: str) -> None:
        self.app, self.weir, self.prefix = app, weir, prefix
        self.count = 0

    def new(self, handler: Handler, prefix: str = "") -> str:
        self.count += 1
        path = f"{prefix}{self.prefix}/{self.count}"
        self.app.on(path, handler)
        return path

    def second(
        self, *lines: Line, prefix: str = "", request: dict[str, str] | None = None, status: int = 200
    ) -> Answer:
        """What the second of two requests gets."""
        path = self.new(says(*lines, status=status), prefix)
        self.weir.get(path, request)
        return self.weir.get(path, request)


@pytest.fixture
def paths(app: Backend, weir: Weir, request: pytest.FixtureRequest) -> Paths:
    return Paths(app, weir, "/" + re.sub(r"[^a-z0-9_]", "-", request.node.name.lower()))


# -- parsing --


def test_rule_1_lines_of_one_name_are_one_list_but_cookies_stay_apart(weir: Weir, app: Backend, paths: Paths) -> None:
    assert not is_hit(paths.second(cc("max-age=60"), cc("no-store")))
    assert is_hit(paths.second(cc(""), cc(",, max-age=60 ,")))
    both = paths.second(cc("max-age=60"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), prefix="/keep")
    assert is_hit(both)
    assert both.all("set-cookie") == ["a=1", "b=2"]


def test_rule_2_directives_are_tokens_with_or_without_a_value(paths: Paths) -> None:
    for fresh in ('max-age="60"', "MAX-AGE=60", 'x="no-store, private", max-age=60', "unknown, other=1, max-age=60"):
        assert is_hit(paths.second(cc(fresh))), fresh
    for stale in ("max-age =60", "max-age= 60", 'x="max-age=60"', 'max-age=60, x="never closed'):
        assert not is_hit(paths.second(cc(stale))), stale


def test_rule_3_seconds_are_digits_and_nothing_else(paths: Paths) -> None:
    for fresh in ("060", "2147483648", "99999999999999999999"):
        assert is_hit(paths.second(cc(f"max-age={fresh}"))), fresh
    for stale in ("-1", "1.5", "'60'", "", "60a", "a60", "+60"):  # and Expires does not step in
        assert not is_hit(paths.second(cc(f"max-age={stale}"), ("Expires", date(60)))), stale
    assert is_hit(paths.second(cc("max-age=60, max-age=0")))
    assert not is_hit(paths.second(cc("max-age=0, max-age=60")))


def test_rule_4_dates_have_three_forms(paths: Paths) -> None:
    forms = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y")
    later = time.gmtime(time.time() + 3600)
    for form in forms:
        text = time.strftime(form, later)
        assert is_hit(paths.second(("Expires", text))), text
        assert is_hit(paths.second(("Expires", text.upper()))), text.upper()
    wrong = (
        "%a, %d %b %Y %H:%M:%S UTC",
        "%a, %d %b %Y %H:%M:%S AEST",
        "%a %d %b %Y %H:%M:%S GMT",
        "%a,  %d %b %Y %H:%M:%S GMT",
        "%a, %d %b %y %H:%M:%S GMT",
        "%A, %d-%b-%Y %H:%M:%S GMT",
        "%a, %d %b %Y %H.%M.%S GMT",
    )
    for form in wrong:
        text = time.strftime(form, later)
        assert not is_hit(paths.second(("Expires", text))), text


def test_rule_5_age_is_the_first_member_if_that_is_a_number(paths: Paths) -> None:
    for value, age in (("30", 30), ("30, 90", 30), ("-30", 0), ("30.5", 0), ("30;a=b", 0), ("x, 90", 0)):
        second = paths.second(cc("max-age=60"), ("Age", value))
        assert is_hit(second), value
        assert age <= int(second.get("age") or -1) <= age + 2, value
    assert not is_hit(paths.second(cc("max-age=60"), ("Age", "99999999999999999999")))


# -- freshness --


def test_rule_6_s_maxage_wins_over_max_age_and_that_over_expires(weir: Weir, app: Backend, paths: Paths) -> None:
    past, future = ("Expires", date(-100)), ("Expires", date(100))
    assert is_hit(paths.second(cc("max-age=0"), cc("s-maxage=60")))
    assert not is_hit(paths.second(cc("s-maxage=0, max-age=60")))
    assert is_hit(paths.second(cc("max-age=60"), past))
    assert is_hit(paths.second(cc("max-age=60"), ("Expires", "0")))
    assert not is_hit(paths.second(cc("max-age=0"), future))
    assert is_hit(paths.second(future))
    for expires in ([past], [("Expires", "0")], [("Expires", "soon")], [future, future]):
        assert not is_hit(paths.second(*expires)), expires
    now = date()
    assert not is_hit(paths.second(("Date", now), ("Expires", now)))
    first = weir.get(paths.new(says(cc("max-age=60"))))
    assert first.get("date") is not None  # the backend sends none
    second = paths.second(cc("max-age=60"), ("Date", "nonsense"))
    assert is_hit(second)
    assert second.get("date") not in (None, "nonsense")


def test_rule_7_fresh_is_strictly_younger(paths: Paths) -> None:
    assert not is_hit(paths.second(cc("max-age=0"), ("ETag", '"a"')))
    assert not is_hit(paths.second(cc("max-age=30"), ("Age", "30"), ("ETag", '"a"')))
    assert is_hit(paths.second(cc("max-age=40"), ("Age", "30")))


def test_rule_8_a_response_may_be_old_when_it_comes(paths: Paths) -> None:
    assert not is_hit(paths.second(cc("max-age=60"), ("Age", "100")))
    assert not is_hit(paths.second(cc("max-age=60"), ("Date", date(-100))))
    second = paths.second(cc("max-age=60"), ("Date", date(-50)), ("Age", "30"))
    assert is_hit(second)
    assert int(second.get("age") or 0) >= 49
    assert is_hit(paths.second(cc("max-age=60"), ("Date", date(+100))))


def test_rule_9_without_a_word_a_tenth_of_the_age_is_a_guess(paths: Paths) -> None:
    modified = ("Last-Modified", date(-10 * 86400))
    for status in (200, 203, 300, 301, 308, 404, 405, 410, 414, 501):
        second = paths.second(modified, status=status)
        assert is_hit(second), status
        ttl = int(status_of(second).removeprefix("hit; ttl="))
        assert 86395 <= ttl <= 86400
    for status in (201, 202, 302, 307, 403, 500, 502, 599):
        assert not is_hit(paths.second(modified, status=status)), status
    assert is_hit(paths.second(modified, cc("public"), status=599))
    assert not is_hit(paths.second())
    assert not is_hit(paths.second(("Last-Modified", "yesterday")))


# -- storing --


@pytest.mark.parametrize("status", [200, 204, 299, 302, 303, 307, 400, 404, 429, 499, 500, 502, 503, 504, 599])
def test_rule_10_any_final_status_with_a_lifetime_is_stored(
    weir: Weir, paths: Paths, app: Backend, status: int
) -> None:
    path = f"/rule10/{status}"
    app.on(path, says(cc("max-age=60"), ("X-Is", "it"), status=status))
    first, second = weir.get(path), weir.get(path)
    assert (first.status, second.status) == (status, status)
    assert is_hit(second)
    assert (second.content, second.get("x-is")) == (first.content, "it")


def test_rule_10_a_part_is_not_stored(paths: Paths) -> None:
    assert not is_hit(paths.second(cc("max-age=60"), ("Content-Range", "bytes 0-5/9"), status=206))


def test_rule_11_what_must_not_be_stored_is_not(weir: Weir, paths: Paths) -> None:
    for word in ("no-store", "NO-STORE", "private", 'private="x, y"', "no-store=1"):
        assert not is_hit(paths.second(cc(f"max-age=60, {word}"))), word
    for vary in ("*", "Foo, *", ",, * ,"):
        assert not is_hit(paths.second(cc("max-age=60"), ("Vary", vary))), vary
    assert not is_hit(paths.second(cc("max-age=60"), ("Vary", "Foo"), ("Vary", "*")))
    path = paths.new(says(cc("max-age=60")))
    assert weir.get(path, {"Cache-Control": "no-store"}).content == b"call 1"
    assert weir.get(path).content == b"call 2"


def test_rule_12_must_understand_decides_by_the_status(paths: Paths) -> None:
    assert is_hit(paths.second(cc("must-understand, no-store, max-age=60")))
    assert not is_hit(paths.second(cc("must-understand, max-age=60"), status=299))


def test_rule_13_authorization_needs_the_origins_permission(weir: Weir, app: Backend, paths: Paths) -> None:
    who = {"Authorization": "Basic YTpi"}
    assert not is_hit(paths.second(cc("max-age=60"), request=who))
    for word in ("public", "must-revalidate", "s-maxage=60"):
        assert is_hit(paths.second(cc(f"max-age=60, {word}"), request=who)), word
    path = paths.new(says(cc("max-age=60")))
    weir.get(path)
    assert weir.get(path, who).content == b"call 2"  # what is for nobody is no answer to somebody
    assert app.last(path).get("authorization") == "Basic YTpi"


def test_rule_14_cookies(weir: Weir, paths: Paths) -> None:
    fields = (cc("max-age=60"), ("Set-Cookie", "a=1"))
    assert is_hit(paths.second(cc("max-age=60"), request={"Cookie": "a=1"}))
    assert status_of(paths.second(*fields)) == "fwd=uri-miss; detail=set-cookie"
    stripped = paths.second(*fields, prefix="/strip")
    assert is_hit(stripped)
    assert stripped.all("set-cookie") == []
    kept = paths.second(*fields, prefix="/keep")
    assert is_hit(kept)
    assert kept.all("set-cookie") == ["a=1"]
    assert not is_hit(paths.second(("Set-Cookie", "a=1"), ("ETag", '"a"'), prefix="/keep"))


def test_rule_15_what_fails_or_is_not_stored_ends_nothing_that_is_fresh(weir: Weir, paths: Paths) -> None:
    for worse in (says(cc("no-store")), says(status=500), says(status=404)):
        path = paths.new(in_turn(says(cc("max-age=60"), content=b"good"), worse))
        weir.get(path)
        weir.get(path, {"Cache-Control": "no-cache"})
        assert weir.get(path).content == b"good"


def test_rule_16_a_post_is_never_answered_from_the_cache(weir: Weir, paths: Paths) -> None:
    path = paths.new(says(cc("max-age=60")))
    assert weir.get(path).content == b"call 1"
    post = weir.ask("POST", path, content=b"x")
    assert (post.content, status_of(post)) == (b"call 2", "fwd=method")
    assert weir.ask("POST", path, content=b"x").content == b"call 3"


def test_rule_17_the_key_is_the_uri_byte_for_byte(weir: Weir, paths: Paths) -> None:
    path = paths.new(says(cc("max-age=60")))
    targets = [path, f"{path}?", f"{path}?a=1&b=2", f"{path}?b=2&a=1", f"{path}?a=%41", f"{path}?a=A"]
    contents = [weir.get(target).content for target in targets]
    assert len(set(contents)) == len(targets)
    assert [weir.get(target).content for target in targets] == contents
    assert weir.get(path, {"Host": "other.example"}).content not in contents


def test_rule_18_fields_are_kept_but_those_of_the_hop(weir: Weir, paths: Paths) -> None:
    kept = [
        ("X-Own", "one, two"),
        ("Content-Range", "bytes 7-9/3"),
        ("Content-Encoding", "unknown"),
        ("Content-Foo", "bar"),
        ("X-Latin", "\xe4\xff"),
        ("Test-Header", "a"),
        ("Test-Header", "b"),
    ]
    hop = [("Connection", "X-Mine"), ("X-Mine", "1"), ("Keep-Alive", "timeout=9"), ("Proxy-Authenticate", "Basic")]
    second = paths.second(cc("max-age=60"), *kept, *hop)
    assert is_hit(second)
    assert [(name, value) for name, value in second.fields if name.startswith(("x-own", "content-r", "content-e"))] == [
        (name.lower(), value) for name, value in kept[:3]
    ]
    assert (second.get("x-latin"), second.all("test-header")) == ("\xe4\xff", ["a", "b"])
    assert not {"x-mine", "keep-alive", "proxy-authenticate"} & {name for name, _ in second.fields}


def test_rule_19_content_that_is_cut_short_is_not_stored(weir: Weir, app: Backend, paths: Paths) -> None:
    whole = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\n"
    chunked = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n"

    def cut(data: bytes) -> Handler:
        async def handler(call: Call, out: Out) -> None:
            await out.raw(data)
            out.writer.write_eof()
            out.is_done = True

        return handler

    for data in (whole + b"12345", chunked + b"5\r\n12345\r\n", chunked + b"5\r\n123"):
        path = paths.new(in_turn(cut(data), says(cc("max-age=60"), content=b"all of it!")))
        with weir.client() as client, pytest.raises((EOFError, ConnectionError, ValueError, AssertionError)):
            client.ask("GET", path)
        assert weir.get(path).content == b"all of it!"
        assert len(app.asked(path)) == 2
    excess = paths.new(in_turn(cut(whole + b"1234567890junk"), hangs_up))
    assert weir.get(excess).content == b"1234567890"
    assert weir.get(excess).content == b"1234567890"


def test_rule_20_interim_responses_are_never_stored(weir: Weir, paths: Paths) -> None:
    early = b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nX-Early: 1\r\n\r\n"
    path = paths.new(says(cc("max-age=60"), early=early))
    with weir.client() as client:
        client.send("GET", path)
        seen = [client.head().status for _ in range(2)]
        final = client.answer()
        assert seen == [102, 103]
        assert (final.status, final.get("x-early"), final.content) == (200, None, b"call 1")
        client.send("GET", path)
        hit = client.head()
        assert (hit.status, hit.get("x-early"), hit.get("link")) == (200, None, None)
        assert is_hit(hit)


# -- reuse --


def test_rule_21_vary_keeps_variants_apart_by_what_they_mean(weir: Weir, app: Backend, paths: Paths) -> None:
    path = paths.new(says(cc("max-age=60"), ("Vary", "Foo, Accept-Language")))
    asked = [
        {"Foo": "1"},
        {"Foo": "2"},
        {},
        {"Foo": ""},
        {"Foo": "1", "Accept-Language": "de, en;q=0.5"},
    ]
    contents = [weir.get(path, fields).content for fields in asked]
    assert contents == [b"call 1", b"call 2", b"call 3", b"call 4", b"call 5"]
    assert [weir.get(path, fields).content for fields in asked] == contents
    assert weir.get(path, {"Foo": "1", "Accept-Language": "EN;q=0.5 ,DE"}).content == b"call 5"
    assert weir.get(path, {"Foo": "2 "}).content == b"call 2"
    assert status_of(weir.get(path, {"Foo": "9"})).startswith("fwd=vary-miss")


def test_rule_22_no_cache_is_stored_and_asked_about_each_time(weir: Weir, app: Backend, paths: Paths) -> None:
    for word in ("no-cache", "No-Cache", 'no-cache="Set-Cookie"'):
        stored = says(cc(f"max-age=60, {word}"), ("ETag", '"a"'), content=b"kept")
        path = paths.new(in_turn(stored, says(("ETag", '"a"'), status=304)))
        weir.get(path)
        second = weir.get(path)
        assert (second.status, second.content, is_hit(second)) == (200, b"kept", False)
        assert app.last(path).get("if-none-match") == '"a"'


def test_rule_23_a_hit_says_its_age_and_changes_nothing_else(weir: Weir, paths: Paths) -> None:
    same = [("Date", date(-10)), ("Expires", date(60)), ("Last-Modified", date(-99)), ("ETag", '"e"')]
    path = paths.new(says(*same, cc("max-age=60")))
    first, second = weir.get(path), weir.get(path)
    assert first.get("age") is None
    assert 10 <= int(second.get("age") or 0) <= 13
    for name, value in (*same, cc("max-age=60")):
        assert second.all(name.lower()) == [value]
    received = paths.second(cc("max-age=60"), ("Age", "30"))
    assert 30 <= int(received.get("age") or 0) <= 32


def test_rule_24_what_requests_ask_of_caches_is_heard(weir: Weir, app: Backend, paths: Paths) -> None:
    def asked_again(*lines: Line, request: dict[str, str], prefix: str = "") -> bool:
        path = paths.new(says(*lines), prefix)
        weir.get(path)
        weir.get(path, request)
        return len(app.asked(path)) == 2

    old = (cc("max-age=60"), ("Age", "30"))
    for wish in ("no-cache", "max-age=0", "max-age=10", "min-fresh=40", "no-store"):
        assert asked_again(*old, request={"Cache-Control": wish}), wish
        assert not asked_again(*old, request={"Cache-Control": wish}, prefix="/deaf"), wish
    for wish in ("max-age=50", "min-fresh=10", "max-stale", "unknown", "max-age=x"):
        assert not asked_again(*old, request={"Cache-Control": wish}), wish
    assert asked_again(*old, request={"Pragma": "no-cache"})
    assert not asked_again(*old, request={"Pragma": "no-cache", "Cache-Control": "max-age=50"})
    stale = (cc("max-age=20"), ("Age", "30"), ("ETag", '"a"'))
    assert not asked_again(*stale, request={"Cache-Control": "max-stale"})
    assert not asked_again(*stale, request={"Cache-Control": "max-stale=30"})
    assert asked_again(*stale, request={"Cache-Control": "max-stale=5"})
    strict = (cc("max-age=20, must-revalidate"), ("Age", "30"), ("ETag", '"a"'))
    assert asked_again(*strict, request={"Cache-Control": "max-stale"})
    path = paths.new(says(cc("max-age=60")))
    assert weir.get(path, {"Cache-Control": "only-if-cached"}).status == 504
    weir.get(path)
    assert weir.get(path, {"Cache-Control": "only-if-cached"}).content == b"call 1"


def test_rule_25_conditions_are_held_against_what_is_stored(weir: Weir, app: Backend, paths: Paths) -> None:
    modified = date(-1000)
    path = paths.new(says(cc("max-age=60"), ("ETag", 'W/"a"'), ("Last-Modified", modified), ("Vary", "Foo")))
    weir.get(path)
    same = [
        {"If-None-Match": '"a"'},
        {"If-None-Match": '"x", W/"a"'},
        {"If-None-Match": "*"},
        {"If-None-Match": '"a"', "If-Modified-Since": "nonsense"},
        {"If-Modified-Since": modified},
        {"If-Modified-Since": time.strftime("%A, %d-%b-%y %H:%M:%S GMT", time.gmtime(time.time() - 500))},
    ]
    for fields in same:
        answer = weir.get(path, fields)
        assert answer.status == 304, fields
        assert (answer.get("etag"), answer.get("vary"), answer.get("content-length")) == ('W/"a"', "Foo", None)
        assert answer.get("age") is not None
    other = [
        {"If-None-Match": '"b"'},
        {"If-None-Match": "a"},
        {"If-None-Match": '"b"', "If-Modified-Since": date()},
        {"If-Modified-Since": date(-2000)},
        {"If-Modified-Since": "nonsense"},
    ]
    for fields in other:
        assert weir.get(path, fields).status == 200, fields
    assert len(app.asked(path)) == 1


def test_rule_26_preconditions_are_the_origins_and_so_are_conditions_when_nothing_is_stored(
    weir: Weir, app: Backend, paths: Paths
) -> None:
    path = paths.new(says(cc("max-age=60"), ("ETag", '"a"')))
    weir.get(path)
    weir.get(path, {"If-Match": '"b"'})
    assert app.last(path).get("if-match") == '"b"'
    weir.get(path, {"If-Unmodified-Since": date()})
    assert app.last(path).get("if-unmodified-since") is not None
    empty = paths.new(says(cc("no-store")))
    weir.get(empty, {"If-None-Match": '"c"'})
    assert app.last(empty).get("if-none-match") == '"c"'


# -- validation, stale, updates --


def test_rule_27_what_is_stale_is_validated_with_its_own_validators(weir: Weir, app: Backend, paths: Paths) -> None:
    modified = date(-1000)
    old = says(cc("max-age=1"), ("Age", "9"), ("ETag", 'W/"a"'), ("Last-Modified", modified), content=b"old")
    path = paths.new(in_turn(old, says(cc("max-age=60"), status=304)))
    weir.get(path)
    confirmed = weir.get(path, {"If-None-Match": '"mine"'})
    assert (confirmed.status, confirmed.content) == (200, b"old")
    call = app.last(path)
    assert (call.get("if-none-match"), call.get("if-modified-since")) == ('W/"a"', modified)
    assert is_hit(weir.get(path))
    again = paths.new(in_turn(old, says(cc("max-age=60"), status=304)))
    weir.get(again)
    assert weir.get(again, {"If-None-Match": '"a"'}).status == 304
    replaced = paths.new(in_turn(old, says(cc("max-age=60"), content=b"new")))
    assert [weir.get(replaced).content for _ in range(3)] == [b"old", b"new", b"new"]


def test_rule_27_a_304_for_another_representation_is_not_believed(weir: Weir, app: Backend, paths: Paths) -> None:
    old = says(cc("max-age=1"), ("Age", "9"), ("ETag", '"a"'), content=b"old")
    wrong = says(("ETag", '"b"'), status=304)
    path = paths.new(in_turn(old, wrong, says(cc("max-age=60"), ("ETag", '"b"'), content=b"new")))
    weir.get(path)
    answer = weir.get(path)
    assert (answer.status, answer.content) == (200, b"new")
    calls = app.asked(path)
    assert [call.get("if-none-match") for call in calls] == [None, '"a"', None]
    assert weir.get(path).content == b"new"


def test_rule_28_what_forbids_stale_answers_is_obeyed(weir: Weir, app: Backend, paths: Paths) -> None:
    for word in ("max-age=1, must-revalidate", "max-age=1, proxy-revalidate", "s-maxage=1", "max-age=60, no-cache"):
        stored = says(cc(word), ("Age", "9"), ("ETag", '"a"'), ("X-Stored", "1"))
        path = paths.new(in_turn(stored, hangs_up))
        weir.get(path)
        answer = weir.get(path)
        assert (answer.status, answer.get("x-stored"), answer.get("etag")) == (502, None, None), word
    both = says(cc("s-maxage=1, stale-while-revalidate=60"), ("Age", "9"), ("ETag", '"a"'))
    for prefix, is_asked in (("", True), ("/lax", False)):
        path = paths.new(both, prefix)
        weir.get(path)
        assert (status_of(weir.get(path)).startswith("fwd=stale")) is is_asked


def test_rule_29_stale_instead_of_an_origin_that_cannot_be_reached(weir: Weir, app: Backend, paths: Paths) -> None:
    stored = says(cc("max-age=1"), ("Age", "9"), ("ETag", '"a"'), content=b"old")
    path = paths.new(in_turn(stored, hangs_up))
    weir.get(path)
    answer = weir.get(path)
    assert (answer.status, answer.content, answer.get("warning")) == (200, b"old", None)
    assert "stale-if-error" in status_of(answer)
    path = paths.new(in_turn(stored, says(status=503, content=b"no"), hangs_up))
    weir.get(path)
    assert weir.get(path).status == 503
    assert weir.get(path).content == b"old"  # the error did not replace it
    patient = says(cc("max-age=1, stale-if-error=60"), ("Age", "9"), ("ETag", '"a"'), content=b"old")
    for status in (500, 502, 503, 504):
        path = paths.new(in_turn(patient, says(status=status)))
        weir.get(path)
        assert weir.get(path).content == b"old", status


def test_rule_30_stale_while_it_is_fetched_anew(weir: Weir, app: Backend, paths: Paths) -> None:
    stored = says(cc("max-age=1, stale-while-revalidate=60"), ("Age", "9"), ("Vary", "Foo"), content=b"old")
    gate = threading.Event()

    async def slow(call: Call, out: Out) -> None:
        while not gate.is_set():
            await asyncio.sleep(0.01)
        await says(cc("max-age=60"), ("Vary", "Foo"), content=b"new")(call, out)

    path = paths.new(in_turn(stored, slow))
    weir.get(path, {"Foo": "1"})
    answers = [weir.get(path, {"Foo": "1"}) for _ in range(5)]
    assert [answer.content for answer in answers] == [b"old"] * 5
    assert len(app.asked(path)) == 2
    assert app.last(path).get("foo") == "1"
    gate.set()
    eventually(lambda: weir.get(path, {"Foo": "1"}).content == b"new")
    late = says(cc("max-age=1, stale-while-revalidate=5"), ("Age", "9"), ("ETag", '"a"'))
    path = paths.new(late)
    weir.get(path)
    assert status_of(weir.get(path)).startswith("fwd=stale")


def test_rule_31_a_304_updates_what_is_stored(weir: Weir, app: Backend, paths: Paths) -> None:
    stored = says(
        cc("max-age=1"),
        ("Age", "9"),
        ("ETag", '"a"'),
        ("X-Old", "stays"),
        ("X-New", "1"),
        ("X-New", "2"),
        ("Content-Type", "text/a"),
        ("Content-Encoding", "x"),
        content=b"kept",
    )
    update = says(
        cc("max-age=60"),
        ("ETag", '"a"'),
        ("X-New", "3"),
        ("Content-Type", "text/b"),
        ("Content-Encoding", "y"),
        status=304,
    )
    path = paths.new(in_turn(stored, update))
    weir.get(path)
    for answer in (weir.get(path), weir.get(path)):
        assert (answer.status, answer.content, answer.get("content-length")) == (200, b"kept", "4")
        assert (answer.get("x-old"), answer.all("x-new")) == ("stays", ["3"])
        assert (answer.get("content-type"), answer.get("content-encoding")) == ("text/b", "x")
        assert int(answer.get("age") or 0) < 5
    assert len(app.asked(path)) == 2


def test_rule_32_immutable_matters_only_where_the_route_says_so(weir: Weir, app: Backend, paths: Paths) -> None:
    for prefix, calls in (("", 2), ("/still", 1)):
        path = paths.new(says(cc("max-age=60, immutable"), ("Age", "1")), prefix)
        weir.get(path)
        weir.get(path, {"Cache-Control": "max-age=0"})
        assert len(app.asked(path)) == calls
        weir.get(path, {"Cache-Control": "no-cache"})
        assert len(app.asked(path)) == calls + 1
    stale = paths.new(says(cc("max-age=1, immutable"), ("Age", "9"), ("ETag", '"a"')), "/still")
    weir.get(stale)
    weir.get(stale)
    assert len(app.asked(stale)) == 2


def test_rule_33_ranges_are_cut_out_of_what_is_whole(weir: Weir, app: Backend, paths: Paths) -> None:
    content = bytes(range(100))
    modified = date(-1000)
    path = paths.new(says(cc("max-age=60"), ("ETag", '"a"'), ("Last-Modified", modified), content=content))
    weir.get(path)
    for value, start, end in (
        ("bytes=10-19", 10, 20),
        ("bytes=90-", 90, 100),
        ("bytes=-5", 95, 100),
        ("BYTES=5-999", 5, 100),
    ):
        part = weir.get(path, {"Range": value})
        assert (part.status, part.content) == (206, content[start:end]), value
        assert part.get("content-range") == f"bytes {start}-{end - 1}/100"
        assert part.get("etag") == '"a"'
        assert part.get("age") is not None
    beyond = weir.get(path, {"Range": "bytes=100-"})
    assert (beyond.status, beyond.get("content-range")) == (416, "bytes */100")
    for value in ("bytes=9-1", "bytes=a-b", "lines=1-2", "bytes=0-1,5-6", "bytes 0-1"):
        assert weir.get(path, {"Range": value}).content == content, value
    for validator, status in (('"a"', 206), (modified, 206), ('"b"', 200), ('W/"a"', 200), (date(), 200)):
        assert weir.get(path, {"Range": "bytes=0-1", "If-Range": validator}).status == status, validator
    assert len(app.asked(path)) == 1


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH"])
def test_rule_34_a_write_ends_what_is_stored(weir: Weir, app: Backend, paths: Paths, method: str) -> None:
    async def handler(call: Call, out: Out) -> None:
        if call.method in ("GET", "OPTIONS"):
            await stored(call, out)
        else:
            await written(call, out)

    base = f"/rule34/{method}"
    stored = says(cc("max-age=60"), ("Vary", "Foo"))
    written = in_turn(
        says(status=400), says(status=500), says(("Location", f"{base}/b"), ("Content-Location", "c"), status=201)
    )
    targets = [f"{base}/a", f"{base}/b", f"{base}/c"]
    for target in targets:
        app.on(target, handler)
    app.on(f"{base}/d", handler)

    def contents() -> list[bytes]:
        return [weir.get(target, {"Foo": foo}).content for target in [*targets, f"{base}/d"] for foo in ("1", "2")]

    before = contents()
    for _ in range(2):
        weir.ask(method, f"{base}/a", content=b"")
        assert contents() == before  # errors end nothing
    weir.ask("OPTIONS", f"{base}/a")
    assert contents() == before
    weir.ask(method, f"{base}/a", content=b"")
    after = contents()
    assert not set(after[:6]) & set(before)
    assert after[6:] == before[6:]


def test_rule_35_head_is_answered_from_the_entry_of_a_get(weir: Weir, app: Backend, paths: Paths) -> None:
    path = paths.new(says(cc("max-age=60"), ("ETag", '"a"')))
    weir.get(path)
    head = weir.ask("HEAD", path)
    assert is_hit(head)
    assert (head.get("content-length"), head.get("etag")) == ("6", '"a"')
    cold = paths.new(says(cc("max-age=60")))
    weir.ask("HEAD", cold)
    assert app.last(cold).method == "HEAD"
    assert not is_hit(weir.get(cold))


def test_rule_36_a_head_updates_or_ends_what_is_stored(weir: Weir, app: Backend, paths: Paths) -> None:
    for head_etag, status, is_kept in (('"a"', 200, True), ('"b"', 200, False), ('"b"', 404, True)):
        head = says(cc("max-age=99"), ("ETag", head_etag), ("X-Seen", "head"), status=status, content=b"12345")
        get = says(cc("max-age=60"), ("ETag", '"a"'), ("X-Seen", "get"), content=b"12345")
        path = paths.new(in_turn(get, head, get))
        weir.get(path)
        weir.ask("HEAD", path, {"Cache-Control": "no-cache"})
        answer = weir.get(path)
        assert is_hit(answer) is is_kept, (head_etag, status)
        assert answer.get("x-seen") == ("head" if is_kept and status == 200 else "get")


def test_rule_37_dates_of_the_origin_are_passed_on_and_via_is_added(weir: Weir, app: Backend, paths: Paths) -> None:
    same = [("Date", date(-5)), ("Expires", date(50)), ("Last-Modified", "Sunday, 06-Nov-94 08:49:37 GMT")]
    path = paths.new(says(cc("no-transform"), *same, content=b"  as  it is\n"))
    for answer in (weir.get(path), weir.get(path, {"Accept-Encoding": "gzip"})):
        for name, value in same:
            assert answer.get(name.lower()) == value
        assert answer.content == b"  as  it is\n"
        assert re.search(r"1\.1 weir$", answer.all("via")[-1])
    assert re.search(r"1\.1 weir$", app.last(path).get("via") or "")


# -- targeted fields, Cache-Status --


@pytest.mark.parametrize("name", ["CDN-Cache-Control", "Weir-Cache-Control"])
def test_a_targeted_field_decides_alone(weir: Weir, paths: Paths, name: str) -> None:
    for own, other, fresh in (
        ("max-age=60", "no-store", True),
        ("max-age=60", "private, max-age=0", True),
        ("max-age=60;x=1, unknown=?0", "no-store", True),
        ("no-store", "max-age=60", False),
        ("private", "max-age=60", False),
        ("max-age=0", "max-age=60", False),
        ("unknown", "max-age=60", False),
        ('max-age="60"', "max-age=60", False),
        ("max-age=60.0", "max-age=60", False),
        ("", "max-age=60", True),
        ("max-age =60, no-store", "max-age=60", True),
        ("MAX-AGE=0", "max-age=60", True),
    ):
        second = paths.second(cc(other), (name, own))
        assert is_hit(second) is fresh, (own, other)
        assert second.get(name.lower()) == own
    assert is_hit(paths.second((name, "max-age=60"), ("Expires", "0"), cc("max-age=0")))
    assert not is_hit(paths.second((name, "max-age=60"), ("Age", "60"), cc("max-age=600")))


def test_the_own_targeted_field_comes_before_the_general_one(paths: Paths) -> None:
    both = (("CDN-Cache-Control", "no-store"), ("Weir-Cache-Control", "max-age=60"))
    assert is_hit(paths.second(*both))
    assert is_hit(paths.second(*reversed(both)))


def test_cache_status_says_what_was_done_and_keeps_what_others_said(weir: Weir, paths: Paths) -> None:
    path = paths.new(says(cc("max-age=60"), ("Cache-Status", "inner; hit")))
    first, second = weir.get(path), weir.get(path)
    assert first.all("cache-status") == ["inner; hit", "weir; fwd=uri-miss; stored"]
    assert second.all("cache-status")[0] == "inner; hit"
    assert re.fullmatch(r"weir; hit; ttl=(60|59)", second.all("cache-status")[1])
