"""What an upstream says of replicas and databases, held against each other."""

from __future__ import annotations

from proxy.config.document import Path
from proxy.config.parts import Part
from proxy.config.settings import Settings, UpstreamEntrySettings
from proxy.core.dsn import label_of

__all__ = ["check_replicas"]


def check_replicas(part: Part, root: Settings) -> None:
    """Report into the root file: databases that are missing, that nobody uses, or that are the same one."""
    for name, upstream in root.upstreams.items():
        path: Path = ("upstreams", name)
        _check_pairs(part, path, upstream)
        _check_servers(part, path, upstream)
        if upstream.replicas or not part.has(*path, "consistency"):
            continue
        message = f"`{name}` has no replicas: every read goes to the primary, which is consistent as it is"
        hint = "leave `consistency` out, or name `replicas`"
        part.document.report("WEIR0243", message, (*path, "consistency"), hint=hint, of_key=True)


def _check_pairs(part: Part, path: Path, upstream: UpstreamEntrySettings) -> None:
    """All of them with a database, or none."""
    with_database = [
        index
        for index, replica in enumerate(upstream.replicas)
        if not isinstance(replica, str) and replica.database is not None
    ]
    if upstream.database is None:
        for index in with_database:
            message = "a replica's position says nothing without the primary's"
            hint = f"add `database: postgresql://...` of the primary to `{path[1]}`"
            place = (*path, "replicas", index, "database")
            part.document.report("WEIR0240", message, place, hint=hint, of_key=True)
        return
    if not upstream.replicas:
        message = f"`{path[1]}` has a database and no replicas: there is nothing to compare it with"
        hint = "leave `database` out, or name `replicas`"
        part.document.report("WEIR0241", message, (*path, "database"), hint=hint, of_key=True)
    for index in range(len(upstream.replicas)):
        if index not in with_database:
            message = "nobody knows how far behind this replica is: it does not say which database it reads"
            hint = "write `{url: ..., database: postgresql://...}`"
            part.document.report("WEIR0241", message, (*path, "replicas", index), hint=hint)


def _check_servers(part: Part, path: Path, upstream: UpstreamEntrySettings) -> None:
    if upstream.database is None:
        return
    for index, replica in enumerate(upstream.replicas):
        if isinstance(replica, str) or replica.database is None:
            continue
        if label_of(replica.database) == label_of(upstream.database):
            message = "this replica reads from the primary database"
            hint = "name its own server; an endpoint on the primary belongs under `primary`"
            place = (*path, "replicas", index, "database")
            part.document.report("WEIR0242", message, place, hint=hint, of_key=True)
