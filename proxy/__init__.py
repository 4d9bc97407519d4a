"""Weir: a rate-limiting, caching and pooling reverse proxy.

Read `pipeline.py` first: it is one exchange, stage by stage, on one page. Then `exchange.py` (the record that
travels), `snapshot.py` (the configuration it travels under) and `app.py` (what is built, in which order).
"""

__version__ = "0.1.0"
