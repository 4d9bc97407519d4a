"""Content that is too large for memory, in files. What blocks runs in `threads`."""
