"""The `operator:` section, as `weir check` reads it."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from proxy.config.diagnostics import render
from proxy.config.load import load

HASH = sha256(b"secret").hexdigest()
BASE = "version: 1\nupstreams: {app: {primary: http://127.0.0.1:1}}\nroutes: [{name: all, upstream: app}]\n"


@pytest.mark.parametrize("text", [HASH, "sha256:" + HASH, "sha256:" + HASH.upper()], ids=["bare", "sha256", "capitals"])
def test_a_hash_may_be_written_in_several_ways(tmp_path: Path, text: str) -> None:
    (tmp_path / "proxy.yaml").write_text(BASE + f"operator: {{tokens: {{alice: '{text}'}}}}\n")
    loaded = load(str(tmp_path / "proxy.yaml"))
    assert loaded.settings is not None
    assert loaded.settings.operator.tokens == {"alice": HASH}


def test_there_are_no_tokens_by_default(tmp_path: Path) -> None:
    (tmp_path / "proxy.yaml").write_text(BASE)
    loaded = load(str(tmp_path / "proxy.yaml"))
    assert loaded.settings is not None
    assert loaded.settings.operator.tokens == {}


@pytest.mark.parametrize(
    ("section", "said"),
    [
        pytest.param("{tokens: {alice: CANARY-token}}", "this is not the hash of a token", id="the token itself"),
        pytest.param(f"{{tokens: {{alice: 'sha256:{HASH[:-1]}'}}}}", "this is not the hash of a token", id="short"),
        pytest.param(f"{{tokens: {{alice: 'md5:{HASH}'}}}}", "this is not the hash of a token", id="another hash"),
        pytest.param(f"{{tokens: {{alice: {sha256(b'').hexdigest()}}}}}", "hash of an empty token", id="empty"),
        pytest.param(f"{{tokens: {{'a b': {HASH}}}}}", "the name of a token is at most 64 letters", id="name"),
        pytest.param(f"{{token: {HASH}}}", "unknown key `token` in `operator`", id="key"),
    ],
)
def test_a_bad_one_is_explained_with_its_line(tmp_path: Path, section: str, said: str) -> None:
    (tmp_path / "proxy.yaml").write_text(BASE + f"operator: {section}\n")
    loaded = load(str(tmp_path / "proxy.yaml"))
    assert not loaded.is_good
    text = render(loaded.diagnostics)
    assert said in text
    assert "proxy.yaml:4:" in text
    if "hash of a token" in said:
        assert "weir keys token" in text
