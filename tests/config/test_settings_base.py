"""The base model and the types with units."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field, ValidationError

from proxy.core.settings import Duration, FileName, FromText, Model, Percent, RateText, Size
from proxy.core.units import Rate


class Section(Model):
    wait: Duration = Field(10.0, description="A wait.")
    room: Size = Field(1024, description="A room.")
    rate: RateText = Field(Rate(1, 1.0), description="A rate.")
    share: Percent = Field(0.01, description="A share.")
    key: FileName | None = Field(None, description="A file.")


def test_text_with_units_becomes_numbers() -> None:
    section = Section.model_validate({"wait": "1h30m", "room": "64KiB", "rate": "5/15min", "share": "0.5%"})
    assert (section.wait, section.room, section.rate, section.share) == (5400.0, 65536, Rate(5, 900.0), 0.005)


def test_in_python_plain_numbers_are_seconds_bytes_and_fractions() -> None:
    section = Section(wait=0.5, room=10, rate=Rate(2, 1.0), share=0.5)
    assert (section.wait, section.room, section.rate, section.share) == (0.5, 10, Rate(2, 1.0), 0.5)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("wait", 10, "`10` has no unit; write 10s or 10ms"),
        ("wait", True, "`true` is not a duration; write 250ms, 10s, 5m or 1h30m"),
        ("wait", None, "`null` is not a duration; write 250ms, 10s, 5m or 1h30m"),
        ("room", 64, "`64` has no unit; write 64B, 64KiB or 64MiB"),
        ("room", [1], "`[...]` is not a size; write 500B, 64KiB or 10MB"),
        ("rate", 10, "`10` has no period; write 10/s or 10/min"),
        ("rate", {"count": 1}, "`{...}` is not a rate; write 10/s, 200/min or 5/15min"),
        ("share", 1, "`1` has no percent sign; write 1%"),
    ],
)
def test_in_a_file_a_number_needs_its_unit(key: str, value: Any, message: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Section.model_validate({key: value}, context=FromText())
    (error,) = refused.value.errors()
    assert str(error["ctx"]["error"]) == message


def test_unknown_keys_are_refused_and_x_keys_are_free() -> None:
    assert Section.model_validate({"x-remark": {"any": 1}}) == Section()
    with pytest.raises(ValidationError, match="extra_forbidden"):
        Section.model_validate({"wiat": "1s"})


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Section().wait = 1.0


def test_settings_are_written_as_they_are_read() -> None:
    section = Section(wait=90, room=65536, rate=Rate(5, 900.0), share=0.005)
    written = section.model_dump(mode="json", exclude_none=True)
    assert written == {"wait": "1m30s", "room": "64KiB", "rate": "5/15min", "share": "0.5%"}
    assert Section.model_validate(written, context=FromText()) == section


@pytest.mark.parametrize(("written", "meant"), [("tls.key", "/etc/weir/tls.key"), ("/run/tls.key", "/run/tls.key")])
def test_a_relative_file_name_starts_at_the_folder_of_its_file(written: str, meant: str) -> None:
    assert Section.model_validate({"key": written}, context=FromText("/etc/weir")).key == meant
    assert Section(key=written).key == written
