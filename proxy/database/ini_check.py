"""An existing `pgbouncer.ini` held against the plan: what is missing, what is dangerous, what is only different."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from proxy.database.entries import Entry
from proxy.database.ini import Plan
from proxy.database.sizing import PoolPlan, ServerPlan

__all__ = ["Difference", "check_ini"]

_NAME_AND_VALUE = re.compile(r'\s*("(?:[^"]|"")*"|[^=\s]+)\s*=\s*(.*?)\s*$')
_PAIR = re.compile(r"([a-z_]+)\s*=\s*('(?:[^']|'')*'|[^\s']\S*|)")


@dataclass(frozen=True, slots=True)
class Difference:
    """`line` counts from 1; 0 is for what is not in the file."""

    line: int
    message: str
    hint: str


@dataclass(slots=True)
class _File:
    settings: dict[str, tuple[int, str]] = field(default_factory=dict)
    databases: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict)

    def number(self, key: str, default: float) -> float:
        return _number(self.settings.get(key, (0, ""))[1], default)


def check_ini(text: str, plan: Plan) -> list[Difference]:
    """Empty when the file keeps every rule. Values that are only a matter of taste are not compared."""
    differences: list[Difference] = []
    parsed = _parse(text, differences)
    for entry in plan.entries:
        differences += _check_entry(parsed, entry)
    differences += _check_trust(parsed, plan)
    for server in plan.servers:
        differences += _check_server(parsed, server)
    return sorted(differences, key=lambda difference: (difference.line == 0, difference.line))


def _parse(text: str, differences: list[Difference]) -> _File:
    parsed, section = _File(), ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line[0] in ";#":
            continue
        if line.startswith("%include"):
            differences.append(Difference(number, "an included file is not looked into", "check it by itself"))
        elif line.startswith("[") and line.endswith("]"):
            section = line[1:-1].strip().lower()
        elif (match := _NAME_AND_VALUE.match(raw)) is None:
            differences.append(Difference(number, "this is no setting", "write `name = value`"))
        elif section == "pgbouncer":
            parsed.settings[match[1].lower()] = (number, match[2])
        elif section == "databases":
            name = match[1].removeprefix('"').removesuffix('"').replace('""', '"')
            parsed.databases[name] = (number, {key: _plain(value) for key, value in _PAIR.findall(match[2])})
    return parsed


def _plain(value: str) -> str:
    return value[1:-1].replace("''", "'") if value.startswith("'") else value


def _check_entry(parsed: _File, entry: Entry) -> Iterator[Difference]:
    line, value = parsed.settings.get(entry.key, (0, entry.default))
    said = f"{entry.key} is {value or 'empty'}" if line else f"{entry.key} is not set, which means {value}"
    wanted = f"write `{entry.key} = {entry.value}`"
    if entry.rule == "same" and value.strip().lower() != entry.value:
        yield Difference(line, said, f"{wanted}: {entry.why}")
    elif entry.rule == "at_least" and _number(value, 0.0) < float(entry.value):
        yield Difference(line, f"{said}, below {entry.value}", f"{wanted}: {entry.why}")
    elif entry.rule == "at_most" and not 0 < _number(value, 0.0) <= float(entry.value):
        beyond = "for ever" if _number(value, 0.0) == 0 else f"above {entry.value}"
        yield Difference(line, f"{said}, {beyond}", f"{wanted}: {entry.why}")


def _check_trust(parsed: _File, plan: Plan) -> Iterator[Difference]:
    line, value = parsed.settings.get("auth_type", (0, "md5"))
    planned = next(entry.value for entry in plan.entries if entry.key == "auth_type")
    if value.lower() in ("trust", "any") and planned != "trust":
        yield Difference(line, f"auth_type is {value}: nobody has to prove anything", f"write `auth_type = {planned}`")


def _check_server(parsed: _File, server: ServerPlan) -> Iterator[Difference]:
    for pool in server.pools:
        if pool.name in parsed.databases:
            yield from _check_pool(parsed, server, pool)
        elif "*" not in parsed.databases:
            hint = "let `weir pgbouncer render` write its line"
            yield Difference(0, f"there is no pool `{pool.name}`", hint)
    mine = {name for name, (_, pairs) in parsed.databases.items() if _is_on(pairs, server)}
    most = sum(_most(parsed, parsed.databases[name][1]) for name in mine)
    if most > server.room:
        line = min(parsed.databases[name][0] for name in mine)
        message = f"the pools of {server.name} may open {most:g} connections, and it has {server.room} for them"
        yield Difference(line, message, "lower `pool_size`, and hold each line to it with `max_db_connections`")


def _check_pool(parsed: _File, server: ServerPlan, pool: PoolPlan) -> Iterator[Difference]:
    line, pairs = parsed.databases[pool.name]
    if not _is_on(pairs, server):
        where = f"{pairs.get('host', 'the unix socket')}:{pairs.get('port', '5432')}"
        yield Difference(line, f"`{pool.name}` goes to {where}", f"write `host={server.host} port={server.port}`")
    if pairs.get("dbname", pool.name) != pool.database:
        yield Difference(
            line, f"`{pool.name}` is not the database `{pool.database}`", f"write `dbname={pool.database}`"
        )
    if pairs.get("pool_mode", "transaction") != "transaction":
        yield Difference(line, f"`{pool.name}` has pool_mode {pairs['pool_mode']}", "leave it out")


def _is_on(pairs: dict[str, str], server: ServerPlan) -> bool:
    return pairs.get("host", "") == server.host and pairs.get("port", "5432") == str(server.port)


def _most(parsed: _File, pairs: dict[str, str]) -> float:
    """Connections that a line may open at most, taken for one user where none is named."""
    size = _number(pairs.get("pool_size", ""), parsed.number("default_pool_size", 20))
    reserve = _number(pairs.get("reserve_pool", ""), parsed.number("reserve_pool_size", 0))
    bound = _number(pairs.get("max_db_connections", ""), parsed.number("max_db_connections", 0))
    return min(size + reserve, bound) if bound else size + reserve


def _number(text: str, default: float) -> float:
    try:
        return float(text)
    except ValueError:
        return default
