"""Reading what a client sent, and refusing it in the shop's own words."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

_REFUSALS: dict[int, type[web.HTTPError]] = {
    400: web.HTTPBadRequest,
    401: web.HTTPUnauthorized,
    404: web.HTTPNotFound,
    409: web.HTTPConflict,
}


def refuse(status: int, reason: str) -> web.HTTPError:
    """An error to raise; its body is `{"error": reason}`."""
    headers = {"WWW-Authenticate": 'Bearer realm="shop"'} if status == 401 else None
    return _REFUSALS[status](text=json.dumps({"error": reason}), content_type="application/json", headers=headers)


async def read_object(request: web.Request) -> dict[str, Any]:
    """The JSON object in the content (at most 1 MiB), or 400."""
    try:
        form = json.loads(await request.read())
    except ValueError as error:
        raise refuse(400, "the content is not JSON") from error
    if not isinstance(form, dict):
        raise refuse(400, "the content is not a JSON object")
    return form


def text_of(form: dict[str, Any], name: str) -> str:
    value = form.get(name)
    if not isinstance(value, str) or not value:
        raise refuse(400, f"{name} is missing or not a text")
    return value


def whole_number(value: Any, name: str, *, least: int, most: int) -> int:
    """An integer from JSON or from text, within bounds, or 400."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise refuse(400, f"{name} must be a whole number from {least} to {most}")
    return value
