"""Can a stored response do: a shared HTTP cache (RFC 9111) with collapsed requests.

Rules, pure, in the order of a response's life: `storing.py` (may it be kept), `freshness.py` (for how long), `entry.py`
(what is kept), `key.py` (under which name), `reuse.py`, `conditions.py` and `ranges.py` (what may be made of it),
`validation.py` (what a 304 changes), `invalidation.py` (what a write ends), `status.py` (what is said of it).
What lives: `memory_store.py` (a hard byte budget), `flights.py` (one fetch at a time), `fill.py` (content on its way),
all owned by `cache.py`. The pipeline calls `stage.py`.
"""
