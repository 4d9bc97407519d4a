"""May it pass now: how many requests a client, a user or a tenant may make.

Read in this order: `settings.py` (what the operator writes), `policy.py` (what it becomes), `algorithms/` (the
arithmetic, one pure step each; `lua/` has the same names), `store.py` (what a store promises), `memory_store.py`,
`redis_store.py` with its actor, `fields.py` (what the client is told) and `stage.py` (what the pipeline calls).
"""
