"""Floor 3: HTTP/1.1 on sockets, both ways. llhttp (through httptools) reads the grammar; everything else is here.

Read `downstream.py` (a client's connection: requests in, responses out), `request_body.py` (content on its way up),
`connect.py` and
`upstream.py` (a connection to an endpoint: one request out, one response in), `tunnel.py` (after a 101), `timers.py`
(all deadlines) and `half_close.py` (a client that stops sending: gone, or only done?).
"""
