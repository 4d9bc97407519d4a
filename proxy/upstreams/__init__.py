"""Who answers: upstreams, their endpoints, and the connections to them.

Read `upstream.py` (what the configuration became), `selection/` (which endpoint), `health.py` (which ones are skipped),
`retry.py` (what may be tried again) and `queue.py` (who is next, and who is refused): all pure. Then `gate.py` and
`lines.py`, where requests wait for an upstream, and `pool.py`, the leases and connections of one endpoint;
`endpoint.py`, `group.py` and `registry.py`, which own everything that lives longer than an exchange; and `prober.py`,
which finds out when an endpoint is back. An exchange goes through `stage.py`: `attempt.py` is one attempt, `again.py`
what follows from one that came to nothing.
"""
