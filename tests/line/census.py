"""A Weir that tells what is alive in it: `python census.py SOCKET run -c proxy.yaml`.

Whoever connects to SOCKET gets a line of JSON: how many objects there are of each type, after a full collection, and
leaves. What was alive when Weir had started is left out, as the collector leaves it out.
"""

from __future__ import annotations

import gc
import json
import socket
import sys
import threading
from collections import Counter
from pathlib import Path


def ask(path: Path) -> Counter[str]:
    """From the outside: what is alive in the Weir behind this socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30.0)
        connection.connect(str(path))
        with connection.makefile("rb") as file:
            return Counter(json.loads(file.readline()))


def _tell(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        gc.collect()
        alive = Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects())
        with connection:
            connection.sendall(json.dumps(alive).encode() + b"\n")


def _main() -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv.pop(1))
    listener.listen()
    threading.Thread(target=_tell, args=(listener,), daemon=True).start()
    from proxy.__main__ import main

    main()


if __name__ == "__main__":
    _main()
