"""How the admin listener answers: JSON, and problem documents (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import hdrs, web


class Refusal(Exception):
    """The request cannot be answered as it is: a problem document with this status and title goes out instead."""

    def __init__(self, status: int, title: str, **members: Any) -> None:
        super().__init__(title)
        self.status = status
        self.title = title
        self.members = members


def json_response(status: int, document: Any, content_type: str = "application/json") -> web.Response:
    return web.Response(
        status=status, body=msgspec.json.encode(document) + b"\n", headers={hdrs.CONTENT_TYPE: content_type}
    )


def problem(status: int, title: str = "", **members: Any) -> web.Response:
    """A problem document. Without a title it repeats nothing of the request."""
    document = {"type": "about:blank", "title": title or HTTPStatus(status).phrase, "status": status, **members}
    return json_response(status, document, "application/problem+json")
