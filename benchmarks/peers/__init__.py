"""Who is measured: one file each, with its configuration text and how it is started.

A new peer is a file here and a row in `PEERS`. The features that all of them have on: a route chosen by path, two
local limits (by client address and by route), a request field set, a response field removed, X-Forwarded-For, a
request id in both directions, kept-alive connections to the backend, and an access log in a file with 1 % of the
successes and every denial. Varnish, which is here for its cache alone, lacks two of them: see its `remark`.
"""

from __future__ import annotations

from benchmarks.peers.envoy import Envoy
from benchmarks.peers.haproxy import Haproxy
from benchmarks.peers.nginx import Nginx
from benchmarks.peers.peer import Peer
from benchmarks.peers.varnish import Varnish
from benchmarks.peers.weir import Weir

PEERS: dict[str, type[Peer]] = {peer.name: peer for peer in (Weir, Nginx, Haproxy, Envoy, Varnish)}

__all__ = ["PEERS", "Peer"]
