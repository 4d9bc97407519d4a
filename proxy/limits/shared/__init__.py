"""Limits in a store that several Weirs share, and what this Weir does while the store is away."""
