"""The `access_log:` section: where request lines go and which requests get one."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from proxy.core.settings import Duration, FileName, Model, Percent


class AccessLogSettings(Model):
    """Errors, denials and slow requests always get a line; the rest is sampled."""

    path: Literal["-", "off"] | FileName = Field(
        "-",
        union_mode="left_to_right",
        description='A file, "-" for standard output, or "off". SIGUSR1 opens the file anew, for log rotation.',
    )
    sample: Percent = Field(
        0.01,
        description="The share of fast requests with a status below 400 that get a line, chosen by request id.",
    )
    slow: Duration = Field(1.0, description="A request that took at least this long always gets a line.")
