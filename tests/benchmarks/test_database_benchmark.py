"""The benchmark of the database, small: it runs, and its rows can tell good from bad."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks import database
from benchmarks.database import CASES, Outcome
from proxy.cli.demo_postgres import find_pgbouncer


def test_a_row_counts_answers_and_errors_apart() -> None:
    outcome = Outcome(seconds=[0.001] * 94 + [0.3] * 6, errors=Counter({"GET 500": 3}), refused=2, most=20)
    assert outcome.row(CASES[0], 10.0) == "| Weir, backend, PgBouncer | 10 | 1 | 300 | 300 | 91 | 3 | 2 | 20 |"


@pytest.mark.long
@pytest.mark.skipif(find_pgbouncer() is None, reason="PgBouncer is not installed")
def test_with_weir_and_pgbouncer_a_crowd_sees_no_error_and_without_them_it_does(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert database.main(["--users", "500", "--seconds", "6"]) == 0
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if line.startswith(("| Weir", "| back"))]
    errors = {row[1].strip(): (int(row[7]), int(row[8]), int(row[9])) for row in rows}
    assert errors["Weir, backend, PgBouncer"][:2] == (0, 0)
    assert errors["Weir, backend, PgBouncer"][2] <= database.POOL
    refused = errors["backend, a connection for each request"]
    assert refused[0] > 0 or refused[2] > database.POOL
