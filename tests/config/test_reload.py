"""SIGHUP: a new snapshot, or nothing changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.clients.keys import VerificationKey
from proxy.config.load import Loaded, load, load_text
from proxy.config.reload import reload

TEXT = """
version: 1
listen: 127.0.0.1:8080
admin: 127.0.0.1:9901
store: memory
upstreams: {app: {primary: http://127.0.0.1:3000}}
identity: {user: {jwt: {keys: https://id.example.com/jwks.json}}}
include: [policies/*.yaml]
"""
ROUTES = "routes: [{name: all, upstream: app}]\n"


@pytest.fixture
def current(tmp_path: Path) -> Loaded:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "a.yaml").write_text(ROUTES)
    (tmp_path / "proxy.yaml").write_text(TEXT)
    loaded = load(str(tmp_path / "proxy.yaml"))
    assert loaded.is_good
    return loaded


def test_a_sound_change_gives_a_new_snapshot(current: Loaded) -> None:
    Path(current.path).write_text(TEXT + "drain: {timeout: 1s}\n")
    outcome = reload(current)
    assert outcome.loaded is not None
    assert outcome.loaded.snapshot is not current.snapshot
    assert outcome.needs_restart == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "proxy.yaml").unlink(), "the file cannot be read: no such file"),
        (lambda folder: (folder / "proxy.yaml").write_text(""), "the file is empty"),
        (lambda folder: (folder / "policies" / "a.yaml").write_text("# soon\n"), "the file is empty"),
        (lambda folder: (folder / "policies" / "a.yaml").unlink(), "there is no route"),
        (lambda folder: (folder / "proxy.yaml").write_text(TEXT + "listne: x\n"), "unknown key `listne`"),
    ],
    ids=["the root vanished", "the root is empty", "an included file is empty", "included files vanished", "a mistake"],
)
def test_what_is_not_sound_changes_nothing(current: Loaded, tmp_path: Path, change, message: str) -> None:
    change(tmp_path)
    outcome = reload(current)
    assert outcome.loaded is None
    assert message in [diagnostic.message for diagnostic in outcome.diagnostics]


@pytest.mark.parametrize(
    ("old", "new", "sections"),
    [
        ("listen: 127.0.0.1:8080", "listen: [127.0.0.1:8080]", ()),
        ("listen: 127.0.0.1:8080", "listen: 127.0.0.1:8081", ("listen",)),
        ("admin: 127.0.0.1:9901", "admin: off", ("admin",)),
        ("store: memory", "store: redis://127.0.0.1", ("store",)),
        ("store: memory", "store: memory\ncache: {disk: {path: d, size: 1GB}}", ("cache.disk",)),
    ],
)
def test_what_follows_only_a_restart_is_named(current: Loaded, old: str, new: str, sections: tuple[str, ...]) -> None:
    Path(current.path).write_text(TEXT.replace(old, new))
    outcome = reload(current)
    assert outcome.loaded is not None
    assert outcome.needs_restart == sections


def test_keys_that_were_fetched_outlive_a_reload(current: Loaded) -> None:
    assert current.snapshot is not None
    current.snapshot.identity.key_sets[0].replace([VerificationKey("a", frozenset({"HS256"}), b"x" * 32)])
    outcome = reload(current)
    assert outcome.loaded is not None
    assert outcome.loaded.snapshot is not None
    assert outcome.loaded.snapshot.identity.key_sets[0] is current.snapshot.identity.key_sets[0]


def test_a_configuration_from_the_command_line_has_nothing_to_reload() -> None:
    loaded = load_text("version: 1\nupstreams: {app: {primary: http://127.0.0.1:1}}\n" + ROUTES)
    outcome = reload(loaded)
    assert outcome.loaded is None
    assert "command line" in outcome.diagnostics[0].message
