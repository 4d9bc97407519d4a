"""redis-py's client for any store that a URL can name: for calls that no request waits for, or few.

What every request waits for goes over a connection of our own (`wire`), which is faster and survives a cancelled call.
"""

from __future__ import annotations

from typing import Any, Final

from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError

from proxy.store.url import CLUSTER, SENTINEL, Endpoint, parse_store_url

FAILURES: Final = (RedisError, RedisClusterException, OSError, TimeoutError)


def connect(url: str, timeout_s: float) -> tuple[Any, Any]:
    """The client, and the Sentinels that it asks, if any: both have to be closed (`aclose`).

    Nothing is opened before the first call; every call may raise one of FAILURES. `timeout_s` bounds each step of a
    call: connecting, writing, reading. Replies are bytes. Raises ValueError for a URL that is no store's.
    """
    address = parse_store_url(url)
    options: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "decode_responses": False,
    }
    if address.kind == SENTINEL:
        make: Any = Sentinel  # has no annotations
        sentinels = make(
            [(endpoint.host, endpoint.port) for endpoint in address.endpoints],
            sentinel_kwargs=options | _login(address.endpoints[0]),
            **options,
        )
        return sentinels.master_for(address.service, db=address.master.db, **_login(address.master)), sentinels
    endpoint = address.endpoints[0]
    if address.kind == CLUSTER:
        options["retry"] = Retry(NoBackoff(), 1)  # once more for what was moved
        nodes = [ClusterNode(node.host, node.port) for node in address.endpoints]
        return RedisCluster(startup_nodes=nodes, **options, **_login(endpoint)), None
    if endpoint.path is not None:
        return Redis(unix_socket_path=endpoint.path, db=endpoint.db, **options, **_login(endpoint)), None
    return Redis(host=endpoint.host, port=endpoint.port, db=endpoint.db, **options, **_login(endpoint)), None


def _login(endpoint: Endpoint) -> dict[str, Any]:
    options: dict[str, Any] = {"username": endpoint.username, "password": endpoint.password}
    if (tls := endpoint.tls) is not None:
        options |= {
            "ssl": True,
            "ssl_ca_certs": tls.ca_certs,
            "ssl_ca_path": tls.ca_path,
            "ssl_ca_data": tls.ca_data,
            "ssl_certfile": tls.certfile,
            "ssl_keyfile": tls.keyfile,
            "ssl_password": tls.password,
            "ssl_cert_reqs": tls.cert_reqs,
            "ssl_check_hostname": tls.check_hostname and tls.cert_reqs != "none",
        }
    return options
