"""The demo's storage: PgBouncer lets in as many as Weir may send, and its file keeps the rules."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from proxy.cli.demo_database import start_storage
from proxy.cli.demo_postgres import find_pgbouncer
from proxy.cli.demo_processes import Children

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(find_pgbouncer() is None, reason="PgBouncer is not installed")
@pytest.mark.long
def test_the_poolers_file_is_what_the_configuration_renders() -> None:
    folder = Path(tempfile.mkdtemp(prefix="weir-test-"))
    with Children(ROOT, folder, remove=folder) as children:
        storage = start_storage(children, ROOT, folder, ("primary", "replica-1", "replica-2"), wants_postgres=True)
        text = (folder / "pgbouncer.ini").read_text()
        command = [sys.executable, "-m", "proxy", "pgbouncer", "render", "--check", str(folder / "pgbouncer.ini")]
        result = subprocess.run(
            command, cwd=ROOT, env=dict(storage.environment), capture_output=True, text=True, timeout=30
        )
    assert result.returncode == 0, result.stdout + result.stderr
    assert (
        re.search(r"^max_client_conn = (\d+)$", text, re.MULTILINE)[1] == "232"
    )  # 3 endpoints of 64, 1.2 times, and 1
    assert set(storage.urls) == {"primary", "replica-1", "replica-2"}
    assert len(set(storage.urls.values())) == 3
    assert not folder.exists()
