"""Floor 0: HTTP as values and rules. Nothing here waits, reads a clock or touches a socket.

Read `message.py` (what a request and a response are), `fields.py` (which fields may cross the proxy), `targets.py`
(one canonical path and host for every decision), `forwarding.py` (who asked, and through whom).
"""
