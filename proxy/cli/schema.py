"""`weir schema`: the JSON Schema of the configuration, for editors."""

from __future__ import annotations

from typing import Annotated

import typer

from proxy.cli.output import print_json
from proxy.config.schema import schema as make_schema

__all__ = ["schema"]


def schema(
    included: Annotated[bool, typer.Option("--included", help="Of a file that the root file includes.")] = False,
) -> None:
    """Print the JSON Schema of proxy.yaml. In the file: # yaml-language-server: $schema=./proxy.schema.json"""
    print_json(make_schema(included=included))
