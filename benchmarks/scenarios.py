"""What is measured: one row for each question, in the order in which a run asks them."""

from __future__ import annotations

from dataclasses import dataclass

SMALL_BYTES = 1_000
DOWNLOAD_BYTES = 10_000_000
UPLOAD_BYTES = 1_000_000
ETAG = '"bench"'  # of the response that is cached


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of request, and what a right answer to it looks like.

    `path` chooses the route in every peer's configuration. `upload_bytes` above 0 makes it a POST.
    """

    name: str
    title: str
    path: str
    status: int = 200
    content_bytes: int | None = SMALL_BYTES  # None: the peer's own refusal, any length
    upload_bytes: int = 0
    connections: int = 64
    is_hit: bool = False  # the answer must say that it came from the cache
    is_conditional: bool = False  # the client has it already, and says so: If-None-Match
    needs_redis: bool = False  # counters in Redis instead of the peer's memory
    is_varied: bool = False  # no request is like the one before: a field counts them


SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("get", "proxied GET 1 KB", "/json"),
        Scenario("hit", "cache hit 1 KB", "/cached", is_hit=True),
        Scenario("varied", "GET 1 KB, every request different", "/json", is_varied=True),
        Scenario("varied-hit", "cache hit 1 KB, every request different", "/cached", is_hit=True, is_varied=True),
        Scenario(
            "not-modified", "304 from the cache", "/cached", 304, content_bytes=0, is_hit=True, is_conditional=True
        ),
        Scenario("denied", "429", "/denied", status=429, content_bytes=None),
        Scenario("redis", "GET 1 KB, limits in Redis", "/json", needs_redis=True),
        # Few connections for the large ones: what is under way when the time is up is not counted, and is part of
        # the processor time all the same.
        Scenario("download", "10 MB download", "/file", content_bytes=DOWNLOAD_BYTES, connections=4),
        Scenario("upload", "1 MB upload", "/upload", content_bytes=2, upload_bytes=UPLOAD_BYTES, connections=8),
        # Last: a thousand connections leave the peers with memory that they had not before.
        Scenario("many", "GET 1 KB, 1000 connections", "/json", connections=1000),
    )
}
