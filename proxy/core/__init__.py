"""Floor 0: values that every feature needs and that need nothing themselves.

Read `errors.py` (everything that can stop an exchange), `units.py` (how text becomes seconds, bytes and rates),
`clock.py` (the only place that reads a clock) and `tasks.py` (the only place that starts a task).
"""
