"""Verbs that ask a running Weir: the four options that all of them have, and what becomes of the answer."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec, get_type_hints

import typer

from proxy.cli.operator_api import ApiError, find_api
from proxy.cli.options import Config
from proxy.cli.output import print_json

__all__ = ["Ask", "asking"]

P = ParamSpec("P")

_OPTIONS: dict[str, tuple[Any, Any]] = {
    "admin": (
        Annotated[
            str | None,
            typer.Option(
                help="host:port or unix:/path of the admin listener. Default: $WEIR_ADMIN, or `admin` of the "
                "configuration.",
                metavar="ADDRESS",
            ),
        ],
        None,
    ),
    "token_file": (
        Annotated[
            Path | None, typer.Option(help="A file with the operator's token. Default: $WEIR_TOKEN.", metavar="FILE")
        ],
        None,
    ),
    "config": (Config, None),
    "as_json": (Annotated[bool, typer.Option("--json", help="For programs.")], False),
}


class Ask:
    """Asks the Weir that the options of the command line name."""

    def __init__(self, admin: str | None, token_file: Path | None, config: str | None, as_json: bool) -> None:
        self._where = (admin, token_file, config)
        self._as_json = as_json

    def __call__(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        show: Callable[[Any], None],
        **query: str | int | None,
    ) -> None:
        """Ask, and print the answer. Exit code 1 when Weir refuses or does not answer."""
        api = find_api(*self._where)
        try:
            document = api.ask(method, path, body, **query)
        except ApiError as error:
            print(error, file=sys.stderr)
            raise typer.Exit(1) from None
        if self._as_json:
            print_json(document)
        else:
            show(document)


def asking(verb: Callable[Concatenate[Ask, P], None]) -> Callable[..., None]:
    """A verb with the four options behind its own: they make the `Ask` that is its first parameter.

    Typer reads the options off the signature, so the signature says them.
    """

    def run(*, admin: str | None, token_file: Path | None, config: str | None, as_json: bool, **own: Any) -> None:
        call: Callable[..., None] = verb
        call(Ask(admin, token_file, config, as_json), **own)

    hints = get_type_hints(verb, include_extras=True)
    _, *own = inspect.signature(verb).parameters.values()
    parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[one.name]) for one in own]
    for name, (kind, default) in _OPTIONS.items():
        parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind))
    run.__name__, run.__doc__ = verb.__name__, verb.__doc__
    run.__annotations__ = {one.name: one.annotation for one in parameters} | {"return": None}
    run.__dict__["__signature__"] = inspect.Signature(parameters)
    return run
