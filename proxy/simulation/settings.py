"""A file of policy tests: what the author of a policy writes to see it hold."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator
from pydantic.json_schema import WithJsonSchema

from proxy.clients.ip_text import canonical_address
from proxy.core.settings import Duration, FileName, Model, Size
from proxy.simulation.instants import iso_time

MAX_TIMES: Final = 100_000
MAX_REQUESTS: Final = 1_000_000  # of one test
_REQUEST: Final = re.compile(r"(?:([A-Za-z-]{1,32}) )?((?:https?://[^\s/]+)?/\S*)")


def _check_request(text: str) -> str:
    if not _REQUEST.fullmatch(text):
        raise ValueError(f"`{text[:60]}` is not a request; write GET /path or POST https://host/path")
    return text


def _check_ip(text: str) -> str:
    if canonical_address(text) is None:
        raise ValueError(f"`{text[:60]}` is not an address; write 203.0.113.7 or 2001:db8::7")
    return text


def _as_wall(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    wall = iso_time(value)
    if wall is None or not value[4:5] == "-":
        raise ValueError(f"`{value[:60]}` is no time; write 2026-03-29 or 2026-03-29T01:00:00Z")
    return wall


def _as_text(value: Any) -> Any:
    """A field's value or a name may look like a number."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Text = Annotated[str, BeforeValidator(_as_text)]
RequestText = Annotated[
    str, AfterValidator(_check_request), WithJsonSchema({"type": "string", "examples": ["GET /api/search?q=lamp"]})
]
AddressText = Annotated[
    str, AfterValidator(_check_ip), WithJsonSchema({"type": "string", "examples": ["203.0.113.7", "2001:db8::7"]})
]
Moment = Annotated[
    float,
    BeforeValidator(_as_wall),
    WithJsonSchema({"type": "string", "examples": ["2026-03-29T01:00:00Z", "2026-03-29"]}),
]
"""Seconds since 1970, from a date or a time; UTC where it says nothing else."""


class ExpectSettings(Model):
    """What must be true of a step's requests. What is not said is not looked at."""

    admitted: bool | None = Field(None, description="Whether each request passes all limits.")
    denied_by: Text | tuple[Text, ...] | None = Field(
        None, description="The limit that refuses each request, or all those that do."
    )
    remaining: Annotated[int, Field(ge=0)] | dict[Text, Annotated[int, Field(ge=0)]] | None = Field(
        None, description="What is left after the last request: of the tightest limit, or by limit."
    )
    retry_after: Duration | None = Field(
        None, description="How long the last request is told to wait, to the second as Retry-After says it."
    )
    route: Text | None = Field(None, description="The route of each request.")
    status: int | None = Field(None, ge=100, le=599, description="What the client gets: Weir's, or the backend's.")

    @model_validator(mode="after")
    def _can_be_true(self) -> ExpectSettings:
        if self.admitted and (self.denied_by is not None or self.retry_after is not None):
            raise ValueError("a request that is admitted is denied by nobody; leave one of the two out")
        if not self.model_fields_set:
            raise ValueError("`expect` says nothing; write admitted, denied, or {denied_by: NAME}")
        return self

    @property
    def refusers(self) -> tuple[str, ...] | None:
        return (self.denied_by,) if isinstance(self.denied_by, str) else self.denied_by


class StepSettings(Model):
    """One request, or the same one several times."""

    at: Duration | None = Field(
        None, description="When, from the start of the test. Default: when the step before it was over."
    )
    request: RequestText = Field(description="Method and path, or a URL.")
    times: int = Field(1, ge=1, le=MAX_TIMES, description="How often.")
    every: Duration = Field(0.0, description="How far apart those are. Default: all at once.")
    ip: AddressText = Field("203.0.113.1", description="The address that the connection comes from.")
    user: Text | None = Field(None, description="Who the request was verified to be from.")
    tenant: Text | None = Field(None, description="The tenant that was verified.")
    api_key: Text | None = Field(None, description="The id of the API key that was verified.")
    plan: Text | None = Field(None, description="The plan that was verified.")
    headers: dict[str, Text] = Field(
        default_factory=dict,
        description="Fields of the request. They say who asks, unless user, tenant, api_key or plan does.",
    )
    status: int = Field(200, ge=100, le=599, description="What the backend answers.")
    response: dict[str, Text] = Field(default_factory=dict, description="Fields of its response.")
    bytes: Size = Field(0, description="Content bytes of its response.")
    takes: Duration = Field(0.0, description="How long it takes; only then are limits of what is under way released.")
    expect: Literal["admitted", "denied"] | ExpectSettings | None = Field(
        None, description="`admitted`, `denied`, or what else must be true."
    )

    @field_validator("headers", "response")
    @classmethod
    def _are_fields(cls, fields: dict[str, str]) -> dict[str, str]:
        for name, value in fields.items():
            if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
                raise ValueError(f"`{name[:40]}` is not the name of a field")
            if not value.isascii() or not value.isprintable():
                raise ValueError(f"the field `{name[:40]}` has a value that no request could carry")
        return fields

    @property
    def says_who(self) -> bool:
        return not self.user is self.tenant is self.api_key is self.plan is None

    @property
    def expected(self) -> ExpectSettings | None:
        if isinstance(self.expect, str):
            return ExpectSettings(admitted=self.expect == "admitted")
        return self.expect

    @property
    def method(self) -> str:
        match = _REQUEST.fullmatch(self.request)
        assert match is not None
        return match[1] or "GET"

    @property
    def target(self) -> str:
        match = _REQUEST.fullmatch(self.request)
        assert match is not None
        return match[2]


class CaseSettings(Model):
    """One test: steps in the order of time, on fresh counts."""

    name: Text = Field(min_length=1, description="What holds, as a sentence.")
    given: FileName | None = Field(None, description="The configuration. Default: that of the file, or of the project.")
    start: Moment | None = Field(
        None, description="What the clock shows at the start; for windows of the calendar. Default: 2026-01-01."
    )
    steps: tuple[StepSettings, ...] = Field(min_length=1, description="The requests.")


class CaseFileSettings(Model):
    """A `*.test.yaml` file."""

    given: FileName | None = Field(None, description="The configuration. Default: proxy.yaml of the project.")
    tests: tuple[CaseSettings, ...] = Field(min_length=1, description="The tests.")
