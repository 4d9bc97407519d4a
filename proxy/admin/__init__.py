"""The operator's side: health and metrics on a listener of their own, never on the public one.

Read `app.py` (the routes and what guards them), then `health.py` (what ready and healthy mean) and `operator.py` (/v1/:
limits, keys, kill switches). `hosts.py` says whose Host field is believed and `tokens.py` whose token; `runner.py`
hosts the application on a listener.
"""
