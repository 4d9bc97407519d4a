"""`weir run --to URL --limit 20/s`: the options of the command line as a configuration.

The options become the text of a root file, which then takes the way that every file takes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from proxy.config.addresses import parse_address
from proxy.config.diagnostics import Diagnostic
from proxy.config.load import COMMAND_LINE, Loaded, load_text
from proxy.core.units import parse_duration, parse_rate
from proxy.upstreams.address import parse_address as parse_endpoint

__all__ = ["quick", "quick_text"]


def quick(
    to: Sequence[str],
    *,
    replicas: Sequence[str] = (),
    limits: Sequence[str] = (),
    cache: str | None = None,
    listen: str = "127.0.0.1:8080",
    admin: str = "127.0.0.1:9901",
    store: str = "memory",
) -> Loaded:
    """The configuration that the options describe. A diagnostic names the option that it is about.

    `limits` are rates, each counted by address or by what follows it: `20/s`, `1000/d per user`.
    """
    wrong = [
        *_refused("--to", to, parse_endpoint),
        *_refused("--replica", replicas, parse_endpoint),
        *_refused("--limit", limits, _parse_limit),
        *_refused("--cache", [cache] if cache is not None else [], parse_duration),
        *_refused("--listen", [listen], parse_address),
        *_refused("--admin", [] if admin == "off" else [admin], parse_address),
    ]
    if wrong:
        return Loaded(COMMAND_LINE, None, None, tuple(wrong), ())
    text = quick_text(to, replicas=replicas, limits=limits, cache=cache, listen=listen, admin=admin, store=store)
    return load_text(text)


def quick_text(
    to: Sequence[str],
    *,
    replicas: Sequence[str],
    limits: Sequence[str],
    cache: str | None,
    listen: str,
    admin: str,
    store: str,
) -> str:
    """The same as a `proxy.yaml`."""
    upstream: dict[str, Any] = {"primary": list(to)}
    if replicas:
        upstream["replicas"] = list(replicas)
    route: dict[str, Any] = {"name": "all", "upstream": "app"}
    if limits:
        route["limits"] = list(_named(limits))
    if cache is not None:
        route["cache"] = {"ttl": cache}
    sections = {
        "version": 1,
        "listen": listen,
        "admin": admin,
        "store": store,
        "upstreams": {"app": upstream},
        "limits": _named(limits),
        "routes": [route],
    }
    # JSON is YAML, and quotes everything; `$` would begin a substitution.
    return "".join(f"{key}: {json.dumps(value).replace('$', '$$')}\n" for key, value in sections.items())


def _parse_limit(text: str) -> dict[str, str]:
    rate, _, by = text.partition(" per ")
    parse_rate(rate.strip())
    return {"rate": rate.strip(), "by": by.strip() or "ip"}


def _named(limits: Sequence[str]) -> dict[str, dict[str, str]]:
    """`limit` when there is one, else `limit-1`, `limit-2`."""
    single = len(limits) == 1
    return {"limit" if single else f"limit-{number}": _parse_limit(text) for number, text in enumerate(limits, 1)}


def _refused(option: str, values: Sequence[str], parse: Callable[[str], Any]) -> list[Diagnostic]:
    wrong = []
    for value in values:
        try:
            parse(value)
        except ValueError as error:
            message, _, hint = str(error).partition("; ")
            wrong.append(Diagnostic("WEIR0111", f"{option}: {message}", hint=hint))
    return wrong
