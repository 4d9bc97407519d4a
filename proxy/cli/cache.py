"""`weir cache`: look at what a running Weir has stored, and end it.

Everything goes through the admin listener's /v1/cache (proxy/admin/cache_operator.py).
"""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from proxy.cli.asking import Ask, asking
from proxy.cli.cache_tables import print_cache, print_entries, print_precomputes, print_variants
from proxy.cli.operator_api import path_of
from proxy.cli.options import Most

__all__ = ["cache"]

cache = typer.Typer(
    name="cache", help="Look at the stored responses of a running Weir, and purge them.", no_args_is_help=True
)

Prefix = Annotated[str | None, typer.Option(help="Only URLs that begin like this.", metavar="URL")]
Tag = Annotated[str | None, typer.Option(help="Only responses with this tag.", metavar="TAG")]


class Sort(StrEnum):
    """What the first ones have most of."""

    HITS = "hits"
    SIZE = "size"
    AGE = "age"
    NEWEST = "newest"


@cache.command()
@asking
def show(
    ask: Ask,
    url: Annotated[
        str | None,
        typer.Argument(help="All of it, as clients ask for it: https://shop.example/a?b=c. None: the whole cache."),
    ] = None,
) -> None:
    """How full the cache is; or the stored responses of one URL, without their content."""
    if url is None:
        ask("GET", "/cache", show=print_cache)
    else:
        ask("GET", "/cache/entry", show=lambda said: print_variants(said["entries"]), url=url)


@cache.command()
@asking
def top(
    ask: Ask,
    prefix: Prefix = None,
    tag: Tag = None,
    by: Annotated[Sort, typer.Option(help="What comes first.")] = Sort.HITS,
    most: Most = 20,
) -> None:
    """The stored responses that were used most."""
    ask(
        "GET",
        "/cache/entries",
        show=lambda said: print_entries(said["entries"], said["matched"]),
        prefix=prefix,
        tag=tag,
        sort=by.value,
        most=min(most, 1000),
    )


@cache.command()
@asking
def purge(
    ask: Ask,
    reason: Annotated[str, typer.Option(help="Why: it goes into the audit trail.")],
    url: Annotated[
        str | None, typer.Argument(help="One URL with all its variants, as clients ask for it.", metavar="URL")
    ] = None,
    prefix: Annotated[str | None, typer.Option(help="All URLs that begin like this.", metavar="URL")] = None,
    tag: Annotated[
        str | None, typer.Option(help="All with this tag in Surrogate-Key, Cache-Tag or Cache-Groups.", metavar="TAG")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything.")] = False,
    soft: Annotated[
        bool,
        typer.Option(
            "--soft", help="Only make it stale: it may still be given while it is fetched anew, and when that fails."
        ),
    ] = False,
) -> None:
    """End stored responses: of a URL, of a prefix, with a tag, or all."""
    if sum(value is not None for value in (url, prefix, tag)) + everything != 1:
        raise typer.BadParameter("say one of URL, --prefix, --tag and --all", param_hint="URL")
    body = {"url": url, "prefix": prefix, "tag": tag, "all": everything, "soft": soft, "reason": reason}
    ask("POST", "/cache/purge", body, show=_print_purged)


@cache.command()
@asking
def precompute(
    ask: Ask,
    name: Annotated[
        str | None, typer.Argument(help="A route: fetch its responses now. None: show what is fetched ahead.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why: it goes into the audit trail.")] = None,
) -> None:
    """What is fetched before anybody asks: how it went, and when it is next; or have it fetched now."""
    if name is None:
        ask("GET", "/precompute", show=lambda said: print_precomputes(said["precomputes"]))
    else:
        ask("POST", "/precompute" + path_of(name), show=lambda said: print_precomputes([said]), reason=reason)


def _print_purged(document: Any) -> None:
    count = document["purged"]
    what = f"{count} stored response{'' if count == 1 else 's'}"
    print(f"{document['target']}: {what} {'made stale' if document['soft'] else 'gone'}")
    if not document["shared"]:
        print("The store is away: the other Weirs will hear of it when it is back.", file=sys.stderr)
