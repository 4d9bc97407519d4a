"""Responses that are fetched on a schedule, before anybody asks."""
