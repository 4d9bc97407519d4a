"""How the store is named when Weir starts: every host of it, and no password."""

from __future__ import annotations

import pytest

from proxy.cli.startup import startup_lines
from tests.config.test_load import load_text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("memory", "memory: limits count in this process alone"),
        ("redis://weir:secret@127.0.0.1:6379/1", "redis://127.0.0.1:6379/1"),
        ("unix:///run/valkey.sock", "unix:///run/valkey.sock"),
        ("redis+sentinel://:secret@a:1,b:2/counts?sentinel_password=secret", "redis+sentinel://a:1,b:2/counts"),
        ("redis+cluster://a:1,[::1]:2", "redis+cluster://a:1,[::1]:2"),
    ],
    ids=["memory", "server", "socket", "sentinels", "cluster"],
)
def test_the_store_is_named_with_every_host_and_without_secrets(url: str, shown: str) -> None:
    text = f"""
version: 1
store: {url}
upstreams: {{app: {{primary: http://127.0.0.1:3000}}}}
routes: [{{name: all, upstream: app}}]
"""
    lines = list(startup_lines(load_text(text), ["http://127.0.0.1:8080"], None))
    assert f"  store       {shown}" in lines
    assert "secret" not in "\n".join(lines)
