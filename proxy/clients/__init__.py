"""Who asks: the client's address, and the user and tenant behind it.

Read in this order: `client.py` (what is known of a client), `ip_text.py`, `forwarded.py` and `addresses.py` (which
address counts), `settings.py` (what the operator writes), `names.py`, `api_keys.py`, `cookies.py`, `tokens.py` with
`keys.py` and `jwt.py` (the ways to be known), `identity.py` (all of them, compiled), `jwks.py` (keys that come over the
network) and `stage.py` (what the pipeline calls). `recent.py` is the bounded memory that several of them use.
"""
