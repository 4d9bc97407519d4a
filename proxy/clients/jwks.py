"""Key sets that come over the network: fetched at the start, every five minutes, and when a token names a new key.

Requests never wait for a fetch. A fetch that fails changes nothing but the report: the last good keys stay.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from proxy.clients.identity import Identity
from proxy.clients.keys import MAX_KEYS_BYTES, KeySet, read_keys
from proxy.core.clock import monotonic, wall
from proxy.core.tasks import spawn

if TYPE_CHECKING:
    from aiohttp import ClientSession

log = logging.getLogger("weir.clients")

REFRESH_S: Final = 300.0  # between fetches while all is well
MIN_INTERVAL_S: Final = 30.0  # between fetches whatever happens, so that made-up key ids cost the provider nothing
FIRST_RETRY_S: Final = 1.0  # after a failure, then twice as long each time: the provider may be starting too
TIMEOUT_S: Final = 5.0  # for a whole fetch


class Jwks:
    """Fetches the key sets of an Identity: one task and at most one fetch in flight for each URL."""

    def __init__(self, *, refresh_s: float = REFRESH_S, min_interval_s: float = MIN_INTERVAL_S) -> None:
        self.refresh_s = refresh_s
        self.min_interval_s = min_interval_s
        self._loops: dict[str, _Loop] = {}
        self._session: ClientSession | None = None

    async def start(self, identity: Identity) -> None:
        """Begin, and wait until every key set has been tried once, at most TIMEOUT_S. Failures are logged."""
        self.use(identity)
        await asyncio.gather(*(loop.tried.wait() for loop in self._loops.values()))

    def use(self, identity: Identity) -> None:
        """Fetch for this identity from now on. Key sets that it shares with the one before are left in peace."""
        wanted = {keys.url: keys for keys in identity.key_sets}
        for url, loop in list(self._loops.items()):
            if wanted.get(url) is not loop.keys:
                del self._loops[url]
                loop.task.cancel()
        for url, keys in wanted.items():
            if url not in self._loops:
                self._loops[url] = _Loop(self, keys)

    async def stop(self) -> None:
        """End every task and close the connections. Safe to call twice."""
        tasks = [loop.task for loop in self._loops.values()]
        self._loops.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def fetch(self, url: str) -> bytes:
        """The body of one answer. Raises ValueError with the reason."""
        import aiohttp  # imported late: most configurations need no HTTP client

        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
                auto_decompress=False,
                trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        fields = {"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"}
        try:
            async with self._session.get(url, headers=fields, allow_redirects=False) as response:
                if response.status != 200:
                    raise ValueError(f"the answer is {response.status}")
                data = b""
                async for piece in response.content.iter_any():
                    data += piece
                    if len(data) > MAX_KEYS_BYTES:
                        raise ValueError(f"it is larger than {MAX_KEYS_BYTES} bytes")
                return data
        except TimeoutError as error:
            raise ValueError(f"no whole answer within {TIMEOUT_S:.0f} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ValueError(str(error) or type(error).__name__) from error


class _Loop:
    """The task of one key set."""

    def __init__(self, owner: Jwks, keys: KeySet) -> None:
        self.keys = keys
        self.tried = asyncio.Event()
        self._owner = owner
        self._wanted = asyncio.Event()
        self._last = b""
        keys.on_unknown = self._wanted.set
        self.task = spawn(self._run(), name=f"keys {keys.url}")

    async def _run(self) -> None:
        owner = self._owner
        retry_s = min(FIRST_RETRY_S, owner.min_interval_s)
        while True:
            began_at = monotonic()
            self._wanted.clear()
            try:
                is_good = await self._refresh()
            finally:
                self.tried.set()
            if is_good:
                retry_s = min(FIRST_RETRY_S, owner.min_interval_s)
                pause_s = owner.min_interval_s
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wanted.wait(), owner.refresh_s)
            else:
                pause_s, retry_s = retry_s, min(retry_s * 2, owner.min_interval_s)
            await asyncio.sleep(max(0.0, began_at + pause_s - monotonic()))

    async def _refresh(self) -> bool:
        keys = self.keys
        try:
            data = await self._owner.fetch(keys.url)
            if data != self._last:
                usable, left_out = read_keys(data, may_hold_secrets=False)
                keys.replace(usable)
                self._last = data
                log.info("%d keys from %s", len(keys), keys.url)
                for reason in left_out:
                    log.warning("a key from %s is left out: %s", keys.url, reason)
        except Exception as error:  # of whatever kind: the next attempt has to come
            keys.problem = str(error) or type(error).__name__
            log.warning("cannot fetch keys from %s, %d earlier ones stay: %s", keys.url, len(keys), error)
            return False
        keys.problem = ""
        keys.fetched_at_wall = wall()
        return True
