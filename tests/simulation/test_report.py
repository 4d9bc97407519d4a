"""The report: complete in itself, escaped, and readable without seeing its charts."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from proxy.simulation.chart import chart
from proxy.simulation.findings import Findings
from proxy.simulation.key_text import key_text
from proxy.simulation.page import percent, render
from proxy.simulation.timeline import MAX_SLOTS, Timeline
from tests.simulation.conftest import Simulate, combined

EVIL = "\"><script>alert(1)</script><img src=x onerror='x'>"
CONFIGURATION = """
limits:
  per-ip: {rate: 3/min, algorithm: fixed}
  per-user: {rate: 2/min, by: user, algorithm: fixed, missing: skip}
trusted_proxies: [192.0.2.1]
identity: {user: {header: X-User}}
routes: [{name: all, upstream: app, limits: [per-ip, per-user]}]
"""


@pytest.fixture
def found(run: Simulate) -> Findings:
    lines = [combined(second, user="eve<b>&amp;") for second in range(20)]
    lines += [combined(3, "/" + EVIL.replace(" ", "+").replace('"', "%22"), address="host<i>") for _ in range(9)]
    return run(CONFIGURATION, [*lines, f"rubbish {EVIL}\n"])


class Page(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.depth: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "line", "rect", "path", "br"):
            self.depth.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.depth.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_well_formed_and_loads_nothing(found: Findings) -> None:
    text = render(found)
    page = Page(text)
    assert page.depth == []
    assert not {"script", "link", "img", "iframe", "object", "b", "i"} & {tag for tag, _ in page.tags}
    assert not any(name in attributes for _, attributes in page.tags for name in ("src", "href", "onerror", "onload"))
    assert not re.search(r"https?://|@import|url\((?!#)", text)
    assert ("meta", "default-src 'none'; style-src 'unsafe-inline'") in [
        (tag, attributes.get("content")) for tag, attributes in page.tags
    ]


def test_what_the_log_brought_in_is_shown_as_text(found: Findings) -> None:
    text = render(found)
    assert "user eve<b>&amp;" in Page(text).text
    assert "user eve&lt;b&gt;&amp;amp;" in text
    assert EVIL[2:30] in Page(text).text  # the rubbish line


def test_every_chart_has_a_title_a_description_and_its_table(found: Findings) -> None:
    page = Page(render(found))
    tags = [tag for tag, _ in page.tags]
    assert tags.count("svg") == tags.count("title") - 1 == tags.count("desc") == tags.count("details") == 3
    labelled = {attributes["id"] for tag, attributes in page.tags if tag in ("title", "desc") and attributes.get("id")}
    for tag, attributes in page.tags:
        if tag == "svg":
            assert attributes["role"] == "img"
            assert set(str(attributes["aria-labelledby"]).split()) <= labelled
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    assert "prefers-color-scheme: dark" in render(found)


def test_the_page_has_the_numbers(found: Findings) -> None:
    text = Page(render(found)).text
    for words in ("per-ip", "per-user", "2/min", "Suggested limits", "proxy.yaml", "29", "could not be read"):
        assert words in text


def test_a_chart_is_xml_and_fits_its_frame() -> None:
    drawing = ElementTree.fromstring(chart("c1", "A & <B>", 0.0, 60.0, [0, 5, 17, 3], [0, 0, 17, 0]))
    assert drawing.find("title").text == "A & <B>"  # type: ignore[union-attr]
    assert "17 of 25 in all" in str(drawing.find("desc").text)  # type: ignore[union-attr]
    for path in drawing.iter("path"):
        for number in re.findall(r"[\d.]+", path.attrib["d"]):
            assert 0 <= float(number) <= 760
    labels = [text.text for text in drawing.iter("text")]
    assert labels == ["0", "10", "20", "1970-01-01 00:00:00", "1970-01-01 00:02:00", "1970-01-01 00:04:00"]


@pytest.mark.parametrize(("came", "denied"), [([], []), ([0], [0]), ([0] * 5, [0] * 5), ([1], [1])])
def test_a_chart_of_little_is_drawn_too(came: list[int], denied: list[int]) -> None:
    assert ElementTree.fromstring(chart("c", "t", 0.0, 1.0, came, denied)) is not None


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0.00 %"), (0.00001, "< 0.01 %"), (0.0001, "0.01 %"), (0.12345, "12.35 %"), (1.0, "100.00 %")],
)
def test_what_is_not_nothing_is_never_shown_as_nothing(share: float, text: str) -> None:
    assert percent(share) == text


def test_a_timeline_keeps_its_sums_and_its_bounds_however_long_it_gets() -> None:
    timeline = Timeline()
    instants = [1e9 + second * 7 for second in range(3 * MAX_SLOTS)]
    for at in instants:
        timeline.add("all", timeline.slot(at))
        if at > 1e9 + 20_000:
            timeline.add("late", timeline.slot(at))
    assert sum(timeline.series["all"]) == len(instants)
    assert len(timeline.series["all"]) <= MAX_SLOTS
    width_s, counts = timeline.points("all", 240)
    late_width_s, late = timeline.points("late", 240)
    assert (len(counts), width_s) == (len(late), late_width_s)
    assert len(counts) <= 240
    assert sum(counts) == len(instants)
    first = next(place for place, count in enumerate(late) if count)
    assert first * width_s <= 20_007 <= (first + 1) * width_s


def test_a_timeline_starts_with_its_first_instant() -> None:
    timeline = Timeline()
    assert timeline.points("all", 10) == (1.0, [])
    timeline.add("all", timeline.slot(1234.5))
    assert (timeline.start_at, timeline.points("all", 10)) == (1234.0, (1.0, [1]))


@pytest.mark.parametrize(
    ("key", "by", "text"),
    [
        (b"weir:1:gcra:6:per-ip:{i203.0.113.7}", ["ip"], "203.0.113.7"),
        (b"weir:1:gcra:6:per-ip:{i2001:db8::/64}", ["ip"], "2001:db8::/64"),
        (b"weir:1:fixed:3:a:b:{ualice:b}", ["user"], "user alice:b"),
        (b"weir:1:gcra:1:g:", ["global"], "all"),
        (b"weir:1:gcra:1:c:10:{i192.0.2.1}6:ualice", ["ip", "user"], "192.0.2.1 + user alice"),
        (b"weir:1:gcra:1:c:{U0a1b}", ["user"], "user (digest 0a1b)"),
        (b"weir:1:gcra:1:c:{u\xff\x1b[2J}", ["user"], "user \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}[2J"),
        (b"odd", ["ip"], "odd"),
    ],
    ids=["ip", "network", "colons", "global", "composite", "digest", "controls", "odd"],
)
def test_keys_are_shown_as_people_write_them(key: bytes, by: list[str], text: str) -> None:
    assert key_text(key, by) == text
