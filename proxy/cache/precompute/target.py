"""What is fetched ahead of those who ask: targets with their keys, and how long what they bring may be given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from proxy.cache.key import origin_of
from proxy.cache.policy import CachePolicy
from proxy.cache.precompute.settings import PrecomputeSettings
from proxy.http.message import Field, Request, field, index_fields
from proxy.http.targets import canonical_host, canonical_path, split_target

USER_AGENT: Final = "weir-precompute"


@dataclass(frozen=True, slots=True)
class Numbers:
    """Of one `precompute:`. Equal ones keep their schedule over a reload."""

    every_s: float
    jitter: float
    timeout_s: float  # of one run, content included
    keep_s: float  # from the receipt
    tags: tuple[bytes, ...]
    fields: tuple[tuple[str, str], ...]

    @property
    def fresh_s(self) -> float:
        """Until the next run must be over."""
        return self.every_s + self.timeout_s


@dataclass(frozen=True, slots=True)
class Target:
    """One response. Its key is the one that clients' requests for it have."""

    key: bytes
    scheme: str
    authority: bytes
    path_and_query: bytes  # as it goes upstream

    @property
    def host(self) -> str:
        return canonical_host(self.authority)

    @property
    def path(self) -> str:
        return canonical_path(split_target(self.path_and_query)[1])

    @property
    def url(self) -> str:
        """For people."""
        return f"{self.scheme}://{self.authority.decode('ascii')}{self.path_and_query.decode('ascii')}"

    def request(self, name: str, fields: Iterable[tuple[str, str]]) -> Request:
        """The question, as nobody in particular would ask it, and recognisable to the backend."""
        given = [field(key, value) for key, value in fields]
        names = {line[0] for line in given}
        lines = [field("Host", self.authority)]
        lines += [
            line
            for line in (field("User-Agent", f"{USER_AGENT} ({name})"), field("Accept", "*/*"))
            if line[0] not in names
        ]
        lines += given
        request = Request(b"GET", self.path_and_query, 1, lines, index_fields(lines), scheme=self.scheme)
        request.authority, request.host = self.authority, self.host
        request.path, request.query = self.path, split_target(self.path_and_query)[2]
        return request


@dataclass(frozen=True, slots=True, eq=False)
class Precompute:
    """Everything about one route's `precompute:`, with nothing left to look up."""

    name: str  # the route's
    route: Any  # routing.route.Route, with the timeout of a run
    numbers: Numbers
    policy: CachePolicy  # of the targets
    targets: Sequence[Target]
    params: Mapping[bytes, dict[str, str] | None]  # by key: what the `{name}`s of the route's path stand for
    patience_s: float  # of clients who wait for a run: the timeout of the route


def targets_of(policy: CachePolicy, paths: Iterable[str], origins: Iterable[tuple[str, str]]) -> list[Target]:
    """One for each path and (scheme, authority); those that are one response under one key only once."""
    found: dict[bytes, Target] = {}
    origins = list(origins)
    for path in paths:
        target = path.encode("ascii")
        stored_as = target if policy.keying is None else policy.keying.target(target)
        for scheme, text in origins:
            authority = text.encode("ascii")
            key = origin_of(scheme, authority) + stored_as
            found.setdefault(key, Target(key, scheme, authority, target))
    return list(found.values())


def numbers_of(settings: PrecomputeSettings, route_timeout_s: float) -> Numbers:
    """Raises ValueError when a response would be gone before the next one can be there."""
    timeout_s = route_timeout_s if settings.timeout is None else settings.timeout
    numbers = Numbers(
        every_s=settings.every,
        jitter=settings.jitter,
        timeout_s=timeout_s,
        keep_s=settings.keep,
        tags=tuple(tag.encode("ascii") for tag in settings.tags),
        fields=tuple(settings.fields.items()),
    )
    if numbers.keep_s < numbers.fresh_s:
        raise ValueError("`keep` ends before the next run must be over; make it longer than `every` and `timeout`")
    return numbers


def policy_of(policy: CachePolicy, numbers: Numbers) -> CachePolicy:
    """The route's policy for what is fetched ahead: the schedule says how long it is good for.

    The operator's word, as a `ttl` is: it goes beyond max-age and s-maxage, and not beyond no-store, private, no-cache
    and must-revalidate (entry.py). Other statuses than 200, 203 and 204 are as on the rest of the route.
    """
    stale_s = numbers.keep_s - numbers.fresh_s
    return replace(
        policy,
        ttl_s=numbers.fresh_s,
        ttl_overrides=True,
        statuses={},
        stale_while_revalidate_s=stale_s,
        stale_if_error_s=stale_s,
        stale_on_error_s=stale_s,
        eagerness=0.0,
        tag_line=_tag_line(numbers.tags),
        otherwise=policy,
        precomputed={},
    )


def _tag_line(tags: Sequence[bytes]) -> Field | None:
    return field("Surrogate-Key", b" ".join(tags)) if tags else None
