"""replicas: reads from replicas of the database that no user can tell from reads of the primary.

Whoever wrote sees that write, and nobody sees time go backwards. Read in this order: `lsn` and `ring` (where a log is,
and when it was there), `node` (what is known of a server), `session` (what a client must see at least), `choice` (who
may answer), `cookie` (the same for clients without identity), `lessons` (reads that a replica cannot answer). Then
`watcher` and `monitor`, which ask the servers, `sessions_store`, which shares sessions, `replicas`, which owns it all,
and what the line calls: `recalling`, `stage` and `writing`.
"""
