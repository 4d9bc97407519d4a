"""Who is asking: a password check that costs what it must, and the token that it gives out."""

from __future__ import annotations

import hashlib
import hmac
import os
import sqlite3
import time
from typing import Final

import jwt
from aiohttp import web

from examples.marketplace.database import DATABASE
from examples.marketplace.requests import read_object, refuse, text_of

DEMO_USERS: Final = {"ana": "correct horse", "ben": "battery staple", "cleo": "open sesame"}
TOKEN_LIFETIME_S: Final = 3600
# For the demo only: whoever knows it can sign in as anybody.
TOKEN_SECRET: Final = os.environ.get("SHOP_TOKEN_SECRET") or "for-the-demo-only-never-deploy-this-secret"
TOKEN_KEY_ID: Final = "demo"
ISSUER: Final = "marketplace"
AUDIENCE: Final = "shop"

routes = web.RouteTableDef()


@routes.post("/api/login")
async def login(request: web.Request) -> web.Response:
    """`{"user": "ana", "password": "..."}` -> a bearer token for an hour, or 401."""
    form = await read_object(request)
    user, password = text_of(form, "user"), text_of(form, "password")
    if not await request.app[DATABASE].run(_password_is_right, user, password):
        raise refuse(401, "wrong user or password")
    answer = {"token": issue_token(user), "token_type": "Bearer", "expires_in": TOKEN_LIFETIME_S}
    return web.json_response(answer, headers={"Cache-Control": "no-store"})


def user_of(request: web.Request) -> str:
    """The user of a bearer token, or of X-User: something in front of the shop must not let clients send that one."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        try:
            claims = jwt.decode(token, TOKEN_SECRET, algorithms=["HS256"], audience=AUDIENCE, issuer=ISSUER)
        except jwt.PyJWTError as error:
            raise refuse(401, "the token is not valid") from error
        return str(claims["sub"])
    if user := request.headers.get("X-User"):
        return user
    raise refuse(401, "sign in first")


def issue_token(user: str) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": user, "iat": now, "exp": now + TOKEN_LIFETIME_S}
    return jwt.encode(claims, TOKEN_SECRET, algorithm="HS256", headers={"kid": TOKEN_KEY_ID})


def hash_password(password: str, salt: bytes) -> bytes:
    """Slow on purpose, some 25 ms: what makes a login worth protecting."""
    return hashlib.scrypt(password.encode(), salt=salt, n=2**13, r=8, p=1, dklen=32)


def _password_is_right(connection: sqlite3.Connection, user: str, password: str) -> bool:
    row = connection.execute("SELECT salt, password_hash FROM users WHERE name = ?", (user,)).fetchone()
    # An unknown user costs as much as a known one, so that the time does not tell which names exist.
    salt, expected = (row["salt"], row["password_hash"]) if row else (bytes(16), b"")
    return hmac.compare_digest(hash_password(password, salt), expected)
