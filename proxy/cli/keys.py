"""`weir keys`: look at the limits of a running Weir, and decide about single keys and clients.

Everything goes through the admin listener's /v1/ (proxy/admin/operator.py); nothing here touches a store.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import StrEnum
from hashlib import sha256
from secrets import token_urlsafe
from typing import Annotated, Any

import typer

from proxy.cli.asking import Ask, asking
from proxy.cli.keys_tables import (
    print_audit,
    print_change,
    print_controls,
    print_key,
    print_limits,
    print_offenders,
)
from proxy.cli.operator_api import path_of
from proxy.cli.options import Most

__all__ = ["keys"]

keys = typer.Typer(
    name="keys",
    help="Look at the limits of a running Weir; ban, allow, override or reset single keys; stop traffic.",
    no_args_is_help=True,
)

LimitName = Annotated[str, typer.Argument(help="Name of the limit.", metavar="LIMIT")]
KeyText = Annotated[
    str,
    typer.Argument(
        help="203.0.113.7, alice, or 203.0.113.7|alice where the limit counts by several; * for `global`.",
        metavar="KEY",
    ),
]
For = Annotated[str, typer.Option("--for", help="How long: 15m, 2h, 7d. At most 30d.", metavar="DURATION")]
Reason = Annotated[str, typer.Option(help="Why: it is shown to everybody who looks, and goes into the audit trail.")]
WhyBack = Annotated[str | None, typer.Option("--reason", help="Why, for the audit trail.")]


class Scope(StrEnum):
    """What a kill switch stops."""

    ALL = "all"
    ROUTE = "route"
    TENANT = "tenant"
    USER = "user"


ScopeText = Annotated[Scope, typer.Argument(help="What to stop.")]
ScopeName = Annotated[str | None, typer.Argument(help="The route's, tenant's or user's name; none for all.")]


@keys.command("limits")
@asking
def show_limits(ask: Ask) -> None:
    """The limits with their numbers, counters and the keys denied most."""
    ask("GET", "/limits", show=lambda said: print_limits(said["limits"]))


@keys.command("list")
@asking
def list_controls(ask: Ask) -> None:
    """What is in force beside the configuration: bans, allowed keys, overrides, kill switches."""
    ask("GET", "/controls", show=lambda said: print_controls(said["controls"]))


@keys.command()
@asking
def top(ask: Ask, limit: LimitName, most: Most = 20) -> None:
    """The keys that a limit denied most in the last minutes."""
    path = path_of("limits", limit, "offenders")

    def show(said: Any) -> None:
        print_offenders(limit, said["offenders"])

    ask("GET", path, show=show, most=min(most, 128))


@keys.command()
@asking
def show(
    ask: Ask,
    limit: LimitName,
    key: KeyText,
    plan: Annotated[str | None, typer.Option(help="With the numbers of this plan.")] = None,
) -> None:
    """What a request with this key would find now. Charges nothing."""
    path = path_of("limits", limit, "keys", key)
    ask("GET", path, show=print_key, plan=plan)


@keys.command()
@asking
def reset(ask: Ask, limit: LimitName, key: KeyText, reason: WhyBack = None) -> None:
    """Give a key everything back."""
    path = path_of("limits", limit, "keys", key)
    done = _done(f"{key} has everything back on {limit}")
    ask("DELETE", path, show=done, reason=reason)


@keys.command()
@asking
def ban(ask: Ask, limit: LimitName, key: KeyText, for_: For, reason: Reason) -> None:
    """Refuse a key for a while, whatever it has left."""
    path, body = path_of("limits", limit, "keys", key, "ban"), {"for": for_, "reason": reason}
    ask("PUT", path, body, show=_done(f"{key} is banned on {limit} for {for_}"))


@keys.command()
@asking
def unban(ask: Ask, limit: LimitName, key: KeyText, reason: WhyBack = None) -> None:
    """End a ban, also one of the penalty box."""
    path = path_of("limits", limit, "keys", key, "ban")
    done = _done(f"{key} is banned no more on {limit}")
    ask("DELETE", path, show=done, reason=reason)


@keys.command()
@asking
def allow(ask: Ask, limit: LimitName, key: KeyText, for_: For, reason: Reason) -> None:
    """Do not count a key for a while."""
    path, body = path_of("limits", limit, "keys", key, "allow"), {"for": for_, "reason": reason}
    done = _done(f"{key} is not counted on {limit} for {for_}")
    ask("PUT", path, body, show=done)


@keys.command()
@asking
def disallow(ask: Ask, limit: LimitName, key: KeyText, reason: WhyBack = None) -> None:
    """Count a key again."""
    path = path_of("limits", limit, "keys", key, "allow")
    done = _done(f"{key} is counted again on {limit}")
    ask("DELETE", path, show=done, reason=reason)


@keys.command()
@asking
def override(
    ask: Ask,
    limit: LimitName,
    key: KeyText,
    rate: Annotated[str, typer.Option(help="The rate of this key, such as 600/min.")],
    for_: For,
    reason: Reason,
    burst: Annotated[int | None, typer.Option(help="And how many at once.")] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Give the key everything back, too.")] = False,
) -> None:
    """Give a key other numbers for a while."""
    path = path_of("limits", limit, "keys", key, "override")
    body = {"rate": rate, "burst": burst, "reset": reset, "for": for_, "reason": reason}
    done = _done(f"{key} has {rate} on {limit} for {for_}")
    ask("PUT", path, body, show=done)


@keys.command()
@asking
def restore(ask: Ask, limit: LimitName, key: KeyText, reason: WhyBack = None) -> None:
    """End an override: the key has the limit's own numbers again."""
    path = path_of("limits", limit, "keys", key, "override")
    done = _done(f"{key} has the numbers of {limit} again")
    ask("DELETE", path, show=done, reason=reason)


@keys.command()
@asking
def kill(ask: Ask, scope: ScopeText, for_: For, reason: Reason, name: ScopeName = None) -> None:
    """Stop all requests, or those of a route, a tenant or a user, for a while. The admin listener goes on."""
    path, body = _switch(scope, name), {"for": for_, "reason": reason}
    ask("PUT", path, body, show=_done(f"{name or 'everything'} is off for {for_}"))


@keys.command()
@asking
def revive(ask: Ask, scope: ScopeText, name: ScopeName = None, reason: WhyBack = None) -> None:
    """Take a kill switch back before its time."""
    path = _switch(scope, name)
    ask("DELETE", path, show=_done(f"{name or 'everything'} is on"), reason=reason)


@keys.command()
@asking
def audit(ask: Ask, most: Most = 100) -> None:
    """Who changed what, the newest first, as far back as this Weir remembers. The log has all of it."""

    def show(said: Any) -> None:
        print_audit(said["audit"])

    ask("GET", "/audit", show=show, most=min(most, 1000))


@keys.command()
def token(
    name: Annotated[str, typer.Argument(help="Whose token it will be: the audit trail says so.")] = "operator",
) -> None:
    """Make a token. It is printed once; the configuration gets its hash."""
    made = token_urlsafe(32)
    print(made)
    digest = sha256(made.encode()).hexdigest()
    print(f"keep it secret; into proxy.yaml:\n\noperator:\n  tokens:\n    {name}: sha256:{digest}", file=sys.stderr)


def _done(sentence: str) -> Callable[[Any], None]:
    return lambda document: print_change(document, sentence)


def _switch(scope: Scope, name: str | None) -> str:
    if (scope is Scope.ALL) is not (name is None):
        raise typer.BadParameter("`all` has no name, and everything else has one", param_hint="NAME")
    return path_of("kill", scope.value) if name is None else path_of("kill", scope.value, name)
