"""Weir beside nginx, HAProxy, Envoy and Varnish on one machine, one core for each, with the same features on.

Reading order: `scenarios` (what is asked), `peers/` (who is asked, and with which configuration), `runner` (the
rounds), `cpu` and `load` (the two measurements), `targets` and `report` (what the figures are held against).
"""
