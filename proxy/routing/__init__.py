"""Where it goes: which route a request belongs to, and what the route changes on the way.

Read in this order: `settings.py` (what the operator writes), `route.py` (what it becomes), `pattern.py` and `table.py`
(which route is meant), `readings.py` (what else a path could mean), `rewrite.py`, `field_rules.py`, `cors.py` and
`security.py` (what a route changes), `decoration.py` (the last three on a response) and `stage.py` (what the pipeline
calls).
"""
