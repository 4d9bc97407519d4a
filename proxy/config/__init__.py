"""Text becomes values: YAML files on one side, a compiled Snapshot on the other.

Read in the order of the work, which is `load.py`: `files.py` (the root file and what it includes), `source.py` (YAML
into the tree of `document.py`, with `scalars.py`, `substitute.py` and `yaml_errors.py`), `validation.py` (the tree
against the models of `settings.py`; `unions.py` and `reasons.py` put refusals into our words), `checks.py` (names
across files), `compile.py` (settings into the Snapshot), `advice.py` (warnings). `diagnostics.py` says how a finding
looks. Beside that: `reload.py`, `quick.py` (options instead of a file) and `schema.py` (for editors).
"""
