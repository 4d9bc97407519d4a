"""What happened: counters, the access log, and events for the operator.

Read `stage.py` (what each exchange costs and leaves behind), then `metrics.py` (the slots it writes), `collector.py`
(how slots become metric families; `definitions.py` names them all), `access_log.py` and `line.py` (who gets a line and
what is in it), `redact.py` (what never is) and `events.py` (what goes to standard error).
"""
