"""Prints the table of docs/reference/replicas.md from the model: `python -m proxy.replicas.reference`."""

from __future__ import annotations

import sys

from proxy.replicas.settings import ConsistencySettings

BEGIN = "<!-- From here to the next remark: printed by `python -m proxy.replicas.reference`. -->\n"
END = "<!-- The end of what is printed. -->\n"


def reference() -> str:
    shown = ConsistencySettings().model_dump(mode="json")
    lines = ["| key | default | meaning |", "|---|---|---|"]
    for name, field in ConsistencySettings.model_fields.items():
        value = shown[name]
        text = str(value).lower() if isinstance(value, bool) else value
        lines.append(f"| `{name}` | `{text}` | {field.description} |")
    return "\n".join([BEGIN, *lines, "", END])


if __name__ == "__main__":
    sys.stdout.write(reference())
