"""Limits tried out on a clock that is moved by hand: on an access log (`weir simulate`), and on requests that a file
lists with what shall become of them (`weir test`).

Read in this order: `entry.py` (one line of a log), its formats (`combined.py`, `nginx.py`, `caddy.py` and
`weir_lines.py`), `ordering.py`, `engine.py` (the line's own stages, from route to settlement), `replay.py`, `tally.py`
and `estimate.py`; then `settings.py`, `cases.py` and `trial.py` for tests.
"""
