"""`weir cache`: look at what a running Weir has stored, and end it.

Everything goes through the admin listener's /v1/cache (proxy/admin/cache_operator.py).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from proxy.cli.cache_tables import print_cache, print_entries, print_precomputes, print_variants
from proxy.cli.keys import Admin, AsJson, Most, TokenFile
from proxy.cli.operator_api import ApiError, find_api, path_of
from proxy.cli.options import Config
from proxy.cli.output import print_json

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
def show(
    url: Annotated[
        str | None,
        typer.Argument(help="All of it, as clients ask for it: https://shop.example/a?b=c. None: the whole cache."),
    ] = None,
    admin: Admin = None,
    token_file: TokenFile = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """How full the cache is; or the stored responses of one URL, without their content."""
    if url is None:
        _run(admin, token_file, config, as_json, "GET", "/cache", show=print_cache)
    else:
        _run(
            *(admin, token_file, config, as_json, "GET", "/cache/entry"),
            show=lambda said: print_variants(said["entries"]),
            url=url,
        )


@cache.command()
def top(
    prefix: Prefix = None,
    tag: Tag = None,
    by: Annotated[Sort, typer.Option(help="What comes first.")] = Sort.HITS,
    most: Most = 20,
    admin: Admin = None,
    token_file: TokenFile = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """The stored responses that were used most."""
    _run(
        *(admin, token_file, config, as_json, "GET", "/cache/entries"),
        show=lambda said: print_entries(said["entries"], said["matched"]),
        prefix=prefix,
        tag=tag,
        sort=by.value,
        most=min(most, 1000),
    )


@cache.command()
def purge(
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
    admin: Admin = None,
    token_file: TokenFile = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """End stored responses: of a URL, of a prefix, with a tag, or all."""
    if sum(value is not None for value in (url, prefix, tag)) + everything != 1:
        raise typer.BadParameter("say one of URL, --prefix, --tag and --all", param_hint="URL")
    body = {"url": url, "prefix": prefix, "tag": tag, "all": everything, "soft": soft, "reason": reason}
    _run(admin, token_file, config, as_json, "POST", "/cache/purge", body, show=_print_purged)


@cache.command()
def precompute(
    name: Annotated[
        str | None, typer.Argument(help="A route: fetch its responses now. None: show what is fetched ahead.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why: it goes into the audit trail.")] = None,
    admin: Admin = None,
    token_file: TokenFile = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """What is fetched before anybody asks: how it went, and when it is next; or have it fetched now."""
    options = (admin, token_file, config, as_json)
    if name is None:
        _run(*options, "GET", "/precompute", show=lambda said: print_precomputes(said["precomputes"]))
    else:
        _run(
            *(*options, "POST", "/precompute" + path_of(name)),
            show=lambda said: print_precomputes([said]),
            reason=reason,
        )


def _print_purged(document: Any) -> None:
    count = document["purged"]
    what = f"{count} stored response{'' if count == 1 else 's'}"
    print(f"{document['target']}: {what} {'made stale' if document['soft'] else 'gone'}")
    if not document["shared"]:
        print("The store is away: the other Weirs will hear of it when it is back.", file=sys.stderr)


def _run(
    admin: str | None,
    token_file: Path | None,
    config: str | None,
    as_json: bool,
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    *,
    show: Callable[[Any], None],
    **query: str | int | None,
) -> None:
    """Ask, and print the answer. Exit code 1 when Weir refuses or does not answer."""
    api = find_api(admin, token_file, config)
    try:
        document = api.ask(method, path, body, **query)
    except ApiError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None
    if as_json:
        print_json(document)
    else:
        show(document)
