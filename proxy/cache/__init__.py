"""Can a stored response do: a shared HTTP cache (RFC 9111) with collapsed requests.

Rules, pure, in the order of a response's life: `targeted.py` (who says), `storing.py` (may it be kept), `freshness.py`
(for how long), `entry.py` (what is kept), `key.py` (under which name), `reuse.py`, `early.py`, `conditions.py` and
`ranges.py` (what may be made of it), `validation.py` (what a 304 changes), `invalidation.py` (what a write ends),
`downstream.py` and `status.py` (what is said of it). Comments number the rules as tests/conformance/test_cache_rules.py
does.
What lives: `memory_store.py` (a hard byte budget), `disk/store.py` (another, of files), `flights.py` (one fetch at a
time), all owned by `cache.py`. Of the files: `content.py` (what an entry sees of them), `disk/folder.py` and
`disk/handle.py` (what blocks, in `disk/threads.py`), `disk/writing.py`, `disk/stream.py`.
A fetch: `errand.py` (why, and what is owed to those who wait), `courier.py` and `refresh.py` (with a client, and behind
everybody's back), `arrival.py` (what becomes of the answer), `fill.py`, `reader.py` and `landing.py` (content on its
way, for one client, for one request). The pipeline calls `stage.py`.
"""
