"""The base of every settings model: a section of the YAML as a frozen value.

Unknown keys are errors, except those that start with `x-`: they are free, for anchors and remarks. In a file a number
needs its unit (`10s`, `64KiB`, `1%`), and a relative file name starts at the folder of the file that names it. In
Python, where the type says it, plain seconds, bytes and fractions are taken. The validation context tells which it is.
"""

from __future__ import annotations

import os.path
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    model_validator,
)
from pydantic.json_schema import WithJsonSchema

from proxy.core.dsn import check_dsn
from proxy.core.units import (
    DURATION_PATTERN,
    PERCENT_PATTERN,
    RATE_PATTERN,
    SIZE_PATTERN,
    Rate,
    format_duration,
    format_size,
    parse_duration,
    parse_percent,
    parse_rate,
    parse_size,
)

__all__ = ["Dsn", "Duration", "FileName", "FromText", "Model", "Percent", "RateText", "Size"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FromText:
    """The validation context of the loader: the values come from a file in `folder`."""

    folder: str = ""


class Model(BaseModel):
    """A section of the configuration. Frozen; every field carries a description, which becomes the reference."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_free_keys(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: item for key, item in value.items() if not (isinstance(key, str) and key.startswith("x-"))}
        return value


def _reader(parse: Callable[[str], T], *, kinds: tuple[type, ...]) -> Callable[[Any, ValidationInfo], Any]:
    def read(value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, kinds) and not isinstance(value, bool):
            if not isinstance(info.context, FromText) or isinstance(value, Rate):
                return value
            value = str(value)
        if not isinstance(value, str):
            return parse(_word(value))
        return parse(value)

    return read


def _in_folder(name: str, info: ValidationInfo) -> str:
    if not name or "\0" in name:
        raise ValueError("a file name is empty; write the path of a file")
    return os.path.join(info.context.folder, name) if isinstance(info.context, FromText) else name


def _word(value: Any) -> str:
    """What a wrong value looks like in YAML, for the message."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return {type(None): "null", list: "[...]", dict: "{...}"}.get(type(value), str(value))


def _text_schema(kind: str, pattern: str, *examples: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "description": kind, "examples": list(examples)})


def _format_percent(fraction: float) -> str:
    return f"{fraction * 100:.9f}".rstrip("0").rstrip(".") + "%"


Duration = Annotated[
    float,
    Field(ge=0),
    BeforeValidator(_reader(parse_duration, kinds=(int, float))),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    _text_schema("A duration.", DURATION_PATTERN, "250ms", "10s", "5m", "1h30m"),
]
"""Seconds, from `250ms`, `10s`, `5m`, `1h30m`."""

Size = Annotated[
    int,
    Field(ge=0),
    BeforeValidator(_reader(parse_size, kinds=(int,))),
    PlainSerializer(format_size, return_type=str, when_used="json"),
    _text_schema("A size in bytes.", SIZE_PATTERN, "500B", "64KiB", "10MB"),
]
"""Bytes, from `500B`, `64KiB`, `10MB`."""

RateText = Annotated[
    Rate,
    BeforeValidator(_reader(parse_rate, kinds=(Rate,))),
    PlainSerializer(str, return_type=str, when_used="json"),
    _text_schema("A count in a period.", RATE_PATTERN, "10/s", "200/min", "5/15min"),
]
"""A `proxy.core.units.Rate`, from `10/s`, `200/min`, `5/15min`."""

Percent = Annotated[
    float,
    Field(ge=0, le=1),
    BeforeValidator(_reader(parse_percent, kinds=(int, float))),
    PlainSerializer(_format_percent, return_type=str, when_used="json"),
    _text_schema("A percentage.", PERCENT_PATTERN, "1%", "0.5%"),
]
"""A fraction from 0.0 to 1.0, from `1%` or `0.5%`."""

Dsn = Annotated[
    str,
    AfterValidator(check_dsn),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^postgres(ql)?://",
            "description": "One Postgres server, asked directly: never through a pooler.",
            "examples": ["postgresql://weir:${PASSWORD}@db1:5432/shop"],
        }
    ),
]
"""A `postgresql://` URL of one server. It may hold a password."""

FileName = Annotated[str, AfterValidator(_in_folder)]
"""A path. In a file, a relative one starts at the folder of that file. Whether it exists is not looked at here."""
