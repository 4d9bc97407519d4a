"""`consistency` of an upstream: what a client must see of what it wrote and saw before."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, model_validator

from proxy.core.settings import Duration, Model, Percent
from proxy.core.units import format_duration

__all__ = ["ConsistencySettings"]

_MARGIN_S: Final = 2.0  # a sample's age, and what a commit may take to reach the disk with synchronous_commit=off


class ConsistencySettings(Model):
    """What reads from replicas have to show. Positions of the log decide where the databases are known, else time."""

    max_lag: Duration = Field(
        0.5, gt=0, description="A replica that is further behind than this leaves the rotation. Needs `database`."
    )
    wait: Duration = Field(
        0.05,
        le=5,
        description="How long a read may wait for a replica to get what its client must see; then the primary answers. "
        "It is not waited for what cannot come in time. Needs `database`.",
    )
    ttl: Duration = Field(
        60.0, gt=0, le=3600, description="How long it is remembered what a client must see. Well above `max_lag`."
    )
    mode: Literal["async", "inline"] = Field(
        "async",
        description="`async`: the response to a write goes out at once, and until its position is known the client's "
        "reads go to the primary. `inline`: it waits for the position, a few milliseconds.",
    )
    monotonic: bool = Field(
        True, description="Reads of a user or tenant never go back behind what an earlier one has shown."
    )
    cookie: bool = Field(True, description="Clients without identity get a signed cookie with the response to a write.")
    pin: Duration = Field(
        2.0,
        le=3600,
        description="Where no position is known: for how long after a write the primary answers its client. 0s: not.",
    )
    primary_share: Percent = Field(
        1.0,
        gt=0,
        description="Of the slots of the primary's endpoints (`pool.max_in_flight`), the part that reads may hold "
        "which no replica can answer. Beyond it a stale stored response is used where the route allows it, else 503.",
    )

    @model_validator(mode="after")
    def _check(self) -> ConsistencySettings:
        if self.ttl < self.max_lag + _MARGIN_S:
            raise ValueError(
                "ttl is not well above max_lag: what a client wrote would be forgotten before it is there; "
                f"raise it above {format_duration(self.max_lag + _MARGIN_S)}"
            )
        return self
