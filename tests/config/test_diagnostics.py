"""How diagnostics look."""

from __future__ import annotations

from proxy.config.diagnostics import Diagnostic, as_json, did_you_mean, has_errors, render, summary


def test_a_diagnostic_shows_the_line_a_caret_and_what_to_do() -> None:
    diagnostic = Diagnostic(
        "WEIR0102",
        "unknown key `upstrem` in route `items`",
        "policies/api.yaml",
        4,
        5,
        excerpt="    upstrem: main",
        length=7,
        hint="did you mean `upstream`?",
    )
    assert render([diagnostic]) == (
        "error[WEIR0102]: unknown key `upstrem` in route `items`\n"
        "  --> policies/api.yaml:4:5\n"
        "   4 |     upstrem: main\n"
        "     |     ^^^^^^^ did you mean `upstream`?\n"
        "1 error\n"
    )


def test_a_long_line_is_shown_around_the_caret() -> None:
    line = "key: " + "x" * 300 + " here " + "y" * 300
    shown = render([Diagnostic("WEIR0101", "wrong", "a.yaml", 1, 307, excerpt=line, length=4)]).splitlines()
    assert len(shown[2]) < 120
    assert shown[2][shown[3].index("^") :].startswith("here")


def test_control_characters_of_a_file_never_reach_a_terminal() -> None:
    shown = render([Diagnostic("WEIR0101", "wrong", "a.yaml", 1, 1, excerpt="a\x1b[31mb\tc")])
    assert "\x1b" not in shown
    assert "\t" not in shown


def test_colour_is_only_colour() -> None:
    diagnostics = [Diagnostic("WEIR0101", "wrong", "a.yaml", 1, 1, excerpt="abc", severity="warning")]
    colored = render(diagnostics, color=True)
    for code in ("\x1b[1;33m", "\x1b[1;36m", "\x1b[0m"):
        assert code in colored
        colored = colored.replace(code, "")
    assert colored == render(diagnostics)


def test_counts_are_in_words() -> None:
    error, warning = Diagnostic("A", "a"), Diagnostic("B", "b", severity="warning")
    assert summary([error, warning, error]) == "2 errors, 1 warning"
    assert (has_errors([warning]), has_errors([warning, error])) == (False, True)
    assert render([]) == ""


def test_one_line_for_logs_and_an_object_for_programs() -> None:
    diagnostic = Diagnostic("WEIR0101", "wrong", "a.yaml", 3, 1, hint="do this", note="or that")
    assert str(diagnostic) == "error[WEIR0101]: a.yaml:3:1: wrong; do this; or that"
    assert as_json(diagnostic)["line"] == 3


def test_a_suggestion_is_close_or_there_is_none() -> None:
    assert did_you_mean("upstrem", ["upstream", "limits"]) == "did you mean `upstream`?"
    assert did_you_mean("zzz", ["upstream"]) == ""
