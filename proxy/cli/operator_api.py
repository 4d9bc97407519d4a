"""Talks to /v1/ of a running Weir: finds its address and the token, asks, and turns refusals into sentences."""

from __future__ import annotations

import json
import os
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import typer

from proxy.cli.connection import DEFAULT_ADMIN, connect
from proxy.cli.options import DEFAULT_CONFIG
from proxy.config.load import load

__all__ = ["Api", "ApiError", "find_api", "path_of"]

TIMEOUT_S: Final = 15.0  # a decision waits for the shared store, for some seconds when that is away
_MAX_BYTES: Final = 16 << 20


class ApiError(Exception):
    """Weir did not do it. The text says why, for a person."""


class Api:
    """One Weir. Opens a connection for each question."""

    def __init__(self, admin: str, token: str) -> None:
        self.admin = admin
        self._token = token

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None, **query: str | int | None) -> Any:
        """The document of the answer. Raises ApiError."""
        given = {name: value for name, value in query.items() if value is not None}
        target = "/v1" + path + ("?" + urlencode(given) if given else "")
        content = None if body is None else json.dumps({k: v for k, v in body.items() if v is not None}).encode()
        fields = {"Authorization": f"Bearer {self._token}", "Connection": "close", "Content-Type": "application/json"}
        try:
            with closing(connect(self.admin, TIMEOUT_S)) as connection:
                connection.request(method, target, content, fields)
                with connection.getresponse() as answer:
                    status, text = answer.status, answer.read(_MAX_BYTES)
        except (OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "strerror", None) or error or type(error).__name__
            raise ApiError(f"weir at {self.admin} does not answer: {reason}") from None
        return self._document(status, text)

    def _document(self, status: int, text: bytes) -> Any:
        try:
            document = json.loads(text)
        except ValueError:
            raise ApiError(f"{self.admin} is no Weir's admin listener: it says {status} and no JSON") from None
        if status < 400:
            return document
        if not isinstance(document, dict):
            raise ApiError(f"weir at {self.admin} says {status}")
        lines = [f"weir at {self.admin} says: {document.get('title', status)}"]
        if status == 401:
            lines.append("the token comes from --token-file or $WEIR_TOKEN; the configuration has its hash")
        if status == 404 and document.get("title") == "Not Found":
            lines.append("is it a Weir without the operator's API?")
        for name, value in document.items():
            if name not in ("type", "title", "status"):
                known = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
                lines.append(known if name == "detail" else f"{name}: {known}")
        raise ApiError("\n".join(lines))


def path_of(*segments: str) -> str:
    """A path from segments that may hold anything."""
    return "".join("/" + quote(segment, safe="") for segment in segments)


def find_api(admin: str | None, token_file: Path | None, config: str | None) -> Api:
    """Raises typer's errors for what the command line lacks."""
    return Api(_admin(admin, config), _token(token_file))


def _admin(given: str | None, config: str | None) -> str:
    address = given or os.environ.get("WEIR_ADMIN")
    if address:
        return address
    if config is None and not os.path.exists(DEFAULT_CONFIG):
        return DEFAULT_ADMIN
    loaded = load(config or DEFAULT_CONFIG)
    if loaded.settings is None:
        raise typer.BadParameter(f"{loaded.path} has errors (see `weir check`); say --admin", param_hint="--config")
    if loaded.settings.admin == "off":
        raise typer.BadParameter(f"`admin` is off in {loaded.path}: nobody can be asked", param_hint="--config")
    return loaded.settings.admin


def _token(file: Path | None) -> str:
    if file is not None:
        try:
            token = file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise typer.BadParameter(f"{file}: {reason}", param_hint="--token-file") from None
    else:
        token = os.environ.get("WEIR_TOKEN", "").strip()
    if not token:
        raise typer.BadParameter(
            "there is no token; say --token-file FILE or set WEIR_TOKEN", param_hint="--token-file"
        )
    if not token.isascii() or not token.isprintable():
        raise typer.BadParameter("the token has characters that no token has", param_hint="--token-file")
    return token
