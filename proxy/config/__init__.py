"""Text becomes values: YAML files on one side, a compiled Snapshot on the other.

Read in the order of the work: `source.py` (YAML into a tree with positions), `substitute.py` (`${NAME}`), `document.py`
(the tree), `validation.py` (the models, and our words for what they refuse), `files.py` (the root file and what it
includes), `checks.py` (names across files), `compile.py` (settings into the Snapshot) and `load.py` (all of it).
`diagnostics.py` says how an error looks.
"""
