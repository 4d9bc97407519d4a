"""The database behind the backend: its pooler's settings, what it says of itself, and whether a connection string fits.

Weir does not speak for the backend to its database: PgBouncer does. Read `settings.py` (what may be configured),
`sizing.py` (how many connections), `entries.py`, `ini.py` and `ini_check.py` (the file for PgBouncer), then
`console.py` and `exporter.py` (what its console tells, and how that slows admission). `connection_string.py` and
`doctor.py` are `weir doctor db`.
"""
