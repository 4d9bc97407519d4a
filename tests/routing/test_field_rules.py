"""Rules on fields."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from proxy.http.message import Field
from proxy.routing.field_rules import apply, compile_field_rules
from proxy.routing.settings import FieldRulesSettings


def _fields(*lines: tuple[str, str]) -> list[Field]:
    return [(name.lower().encode(), name.encode(), value.encode()) for name, value in lines]


def test_set_replaces_every_line_of_the_name_and_remove_drops_them() -> None:
    rules = compile_field_rules(
        FieldRulesSettings(set={"X-Frame": "DENY", "New": "1"}, remove=("Server", "x-powered-by"))
    )
    before = _fields(
        ("x-frame", "a"), ("Keep", "1"), ("X-FRAME", "b"), ("server", "s"), ("X-Powered-By", "p"), ("Keep", "2")
    )
    after = apply(before, rules)
    assert after == _fields(("Keep", "1"), ("Keep", "2"), ("X-Frame", "DENY"), ("New", "1"))
    assert len(before) == 6


def test_rules_compile_to_whole_lines() -> None:
    rules = compile_field_rules(FieldRulesSettings(set={"X-A": " b: c "}, remove=("X-D",)))
    assert rules == (("set", b"x-a", b"X-A: b: c"), ("remove", b"x-d", b""))
    assert apply([], rules) == _fields(("X-A", "b: c"))


def test_no_settings_are_no_rules() -> None:
    assert compile_field_rules(None) == ()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        pytest.param({"set": {"Content-Length": "0"}}, "is written by Weir", id="length"),
        pytest.param({"set": {"transfer-encoding": "chunked"}}, "is written by Weir", id="coding"),
        pytest.param({"remove": ["Connection"]}, "is written by Weir", id="connection"),
        pytest.param({"set": {"Host": "evil.test"}}, "is written by Weir", id="host"),
        pytest.param({"set": {"Upgrade": "h2c"}}, "is written by Weir", id="upgrade"),
        pytest.param({"set": {"X-A": "1\r\nX-B: 2"}}, "printable ASCII, on one line", id="line-end"),
        pytest.param({"set": {"X-A": "1\nX-B: 2"}}, "printable ASCII, on one line", id="bare-line-end"),
        pytest.param({"set": {"X-A": "a\0b"}}, "printable ASCII, on one line", id="nul"),
        pytest.param({"set": {"X-A": "é"}}, "printable ASCII, on one line", id="not-ascii"),
        pytest.param({"set": {"X A": "1"}}, "is not the name of a field", id="space-in-name"),
        pytest.param({"set": {"X-A:": "1"}}, "is not the name of a field", id="colon-in-name"),
        pytest.param({"set": {"": "1"}}, "is not the name of a field", id="no-name"),
        pytest.param({"set": {"X-A": "1", "x-a": "2"}}, "are one field", id="twice"),
        pytest.param({"set": {"X-A": "1"}, "remove": ["x-A"]}, "are one field", id="set-and-removed"),
    ],
)
def test_a_rule_that_could_break_a_message_is_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        FieldRulesSettings.model_validate(settings)
