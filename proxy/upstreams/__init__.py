"""Who answers: upstreams, their endpoints, and the connections to them.

Read `upstream.py` (what the configuration became), `selection/` (which endpoint), `health.py` (which ones are skipped)
and `retry.py` (what may be tried again): all pure. Then `pool.py`, the heart: a bounded number of leases per endpoint
and a bounded queue before it; `endpoint.py` and `registry.py`, which own everything that lives longer than an exchange;
and `prober.py`, which finds out when an endpoint is back.
"""
