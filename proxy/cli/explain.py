"""`weir explain 'GET /api/search' --ip 203.0.113.7`: which rules a request meets, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from ipaddress import ip_address
from typing import Annotated, Any

import typer

from proxy.cli.explanation import Asked, Explanation, explain_request
from proxy.cli.options import DEFAULT_CONFIG, Config
from proxy.cli.output import print_diagnostics, print_json
from proxy.config.load import load

__all__ = ["explain"]


def explain(
    request: Annotated[str, typer.Argument(help="Method and path, or a URL: 'GET /api/search?q=lamp'.")],
    ip: Annotated[str, typer.Option(help="The address that the request comes from.", metavar="ADDRESS")] = "127.0.0.1",
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", help="A field: 'X-User: 7'.", metavar="FIELD")
    ] = None,
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Say what Weir would do with a request, and which lines of the configuration say so. Sends and counts nothing."""
    asked = _asked(request, ip, header or [])
    loaded = load(config or DEFAULT_CONFIG)
    if loaded.snapshot is None:
        print_diagnostics(loaded.diagnostics)
        raise typer.Exit(1)
    explanation = explain_request(asked, loaded.snapshot)
    if as_json:
        print_json(asdict(explanation))
    else:
        print("\n".join(_lines(explanation)))


def _asked(request: str, ip: str, fields: list[str]) -> Asked:
    method, _, target = request.strip().rpartition(" ")
    try:
        ip_address(ip)
    except ValueError:
        raise typer.BadParameter(f"{ip} is not an IP address", param_hint="--ip") from None
    pairs = []
    for line in fields:
        name, colon, value = line.partition(":")
        if not colon or not name.strip() or not line.isascii() or not line.isprintable():
            raise typer.BadParameter(f"write a field as 'Name: value', not {line!r}", param_hint="--header")
        pairs.append((name.strip(), value.strip()))
    return Asked(method.strip() or "GET", target, ip, pairs)


def _lines(said: Explanation) -> Iterator[str]:
    """A label in the first column, what there is to say in the second, where it is written in the third."""
    request = said.request
    trusted = ", a trusted proxy" if request.get("from_trusted_proxy") else ""
    yield _line("request", f"{request['method']} {request['target']} from {request['from']}{trusted}")
    if said.route is not None:
        names = "".join(f", {name}={value}" for name, value in said.route["names"].items())
        yield _line("route", f"{said.route['name']}: {said.route['path']}{names}", said.route["where"])
    if said.client is not None:
        yield _line("client", _client(said.client))
    for number, limit in enumerate(said.limits):
        numbers = f"{limit.name}: {limit.rate} by {' + '.join(limit.by)}, {limit.algorithm}"
        burst = f", burst {limit.burst}" if limit.burst is not None else ""
        yield _line("limits" if number == 0 else "", numbers + burst, limit.where)
        yield _line("", f"  {limit.reason}" + (f" Key {limit.key}" if limit.key else ""))
        for note in limit.notes:
            yield _line("", f"  {note}")
    if said.route is not None and said.client is not None and not said.limits:
        yield _line("limits", "none")
    if said.cache is not None:
        yield _line(
            "cache", said.cache["policy"].rstrip(".") if said.cache["applies"] else f"not used: {said.cache['reason']}"
        )
        if said.cache["applies"]:
            yield _line("", f"  Key {said.cache['key']}")
            if said.cache["reason"]:
                yield _line("", f"  {said.cache['reason']}")
    if said.upstream is not None:
        yield _line("upstream", _upstream(said.upstream))
    yield _line("result", said.result)
    yield _line("", "(nothing was sent, nothing was counted)")


def _client(client: dict[str, Any]) -> str:
    parts = [client["address"]]
    if client["user"] is not None:
        parts.append(f"user {client['user']} (by {client['via']})")
    else:
        parts.append("no user" + (", and the route requires one" if client["is_required"] else ""))
    parts += [f"{word.replace('_', ' ')} {client[word]}" for word in ("tenant", "api_key", "plan") if client[word]]
    if client["problem"]:
        parts.append(client["problem"])
    return "; ".join(parts)


def _upstream(upstream: dict[str, Any]) -> str:
    several = f", {upstream['select']}" if len(upstream["endpoints"]) > 1 else ""
    endpoints = ", ".join(upstream["endpoints"])
    return f"{upstream['name']}, {upstream['role']} ({upstream['why']}): {endpoints}{several}"


def _line(label: str, text: str, where: str = "") -> str:
    line = f"{label:<9} {text}"
    return f"{line:<70}  {where}" if where else line
