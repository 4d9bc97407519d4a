"""Floor 6: hosting. `listeners.py` opens the sockets through aiohttp's runner; `drain.py` ends in order."""
