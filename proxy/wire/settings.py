"""The `wire:` section: how large and how slow a message may be."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from proxy.core.settings import Duration, Model, Size


class WireSettings(Model):
    """Bounds on every connection from a client. The defaults suit an edge; none of them is ever off."""

    head_timeout: Duration = Field(10.0, description="A request head must be complete within this time, or 408.")
    idle_timeout: Duration = Field(75.0, description="A connection without a request is closed after this time.")
    body_timeout: Duration = Field(30.0, description="Without a byte of content for this time the request ends, 408.")
    write_timeout: Duration = Field(30.0, description="A client that takes nothing for this time is disconnected.")
    min_rate: Size = Field(
        500, description="Bytes a second that a client must send or take, on average, after 5 s of grace."
    )
    max_head: Size = Field(32 * 1024, description="Largest head of a request or of a response, in bytes, or 431.")
    max_fields: int = Field(100, ge=8, le=1000, description="Most field lines in a head, or 431.")
    max_target: Size = Field(8 * 1024, description="Longest request target, or 414.")
    spool: Size = Field(
        1024 * 1024 * 1024,
        description="Most bytes of responses that are held in temporary files (under TMPDIR) for clients that read "
        "slowly, so that they do not hold connections to the backend; 0 for none.",
    )
    spool_memory: Size = Field(
        64 * 1024 * 1024, description="Of them, the most that is held in memory instead, before any file is written."
    )
    spool_each: Size = Field(64 * 1024 * 1024, description="Of them, the most for one response.")
    underscore_fields: Literal["drop", "pass", "reject"] = Field(
        "drop", description="What to do with field names that have an underscore, which backends read as a dash."
    )
