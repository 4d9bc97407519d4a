"""A machine whose clock is wrong and that booted at another time: on PYTHONPATH of a process, before all it imports.

WEIR_TEST_CLOCK="WALL MONOTONIC", both in seconds, shifts what the module `time` tells.
"""

from __future__ import annotations

import os
import time

_wall_s, _monotonic_s = (float(word) for word in os.environ.get("WEIR_TEST_CLOCK", "0 0").split())
_time, _time_ns, _monotonic, _monotonic_ns = time.time, time.time_ns, time.monotonic, time.monotonic_ns

time.time = lambda: _time() + _wall_s
time.time_ns = lambda: _time_ns() + int(_wall_s * 1e9)
time.monotonic = lambda: _monotonic() + _monotonic_s
time.monotonic_ns = lambda: _monotonic_ns() + int(_monotonic_s * 1e9)
