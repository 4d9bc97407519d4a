"""A small web shop: an ordinary backend that knows nothing of the proxy in front of it.

Read `shop.py` (what is served), then `catalogue.py` (reads), `sales.py` (writes and the heavy page), `accounts.py`
(who is asking), `ai.py`, `live.py` and `transfers.py` (what is not a small JSON answer). `database.py` is the file that
one primary and its replicas share, `seed.py` what is in it on the first day.
"""
