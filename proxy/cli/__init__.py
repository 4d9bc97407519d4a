"""The command line: one file per verb, put together in `app.py`. It prints for people, or JSON when asked."""
