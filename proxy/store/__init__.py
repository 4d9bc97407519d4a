"""The shared store, Redis or Valkey: its address, a connection of our own to it, redis-py's client, and a breaker.

Any feature may use it; what is kept there, and under which keys, is the feature's own.
"""
