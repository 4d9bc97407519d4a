"""The JSON Schema of `proxy.yaml` and of included files, so that editors complete and explain.

Made from the models, so it cannot differ from what is accepted. Defaults stand in it as people write them: `10s`.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import CoreSchema

from proxy.config.settings import PolicySettings, Settings

__all__ = ["schema"]

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_SUBSTITUTION: Final = r"\$\{"


def schema(*, included: bool = False) -> dict[str, Any]:
    """The schema of the root file, or of a file that it includes."""
    model = PolicySettings if included else Settings
    made = model.model_json_schema(schema_generator=_Generator)
    title = "Weir: an included policy file" if included else "Weir: proxy.yaml"
    return {"$schema": _DIALECT, **made, "title": title}


class _Generator(GenerateJsonSchema):
    """Adds the free keys and substitutions, and writes defaults with their units."""

    def generate(self, schema: CoreSchema, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:
        made: JsonSchemaValue = _tidied(super().generate(schema, mode))
        return made

    def model_schema(self, schema: Any) -> JsonSchemaValue:
        made = super().model_schema(schema)
        made["patternProperties"] = {"^x-": {"description": "Free, for anchors and remarks."}}
        written = schema["cls"].model_construct().model_dump(mode="json", by_alias=True, warnings=False)
        for key, property_schema in made.get("properties", {}).items():
            if "default" in property_schema:
                property_schema["default"] = written[key]
        return made


def _tidied(made: Any) -> Any:
    """Without titles that only repeat the key, and with `${NAME}` allowed wherever a scalar is."""
    if isinstance(made, list):
        return [_tidied(item) for item in made]
    if not isinstance(made, dict):
        return made
    tidy = {
        key: value if key in ("default", "examples", "enum", "const") else _tidied(value)
        for key, value in made.items()
        if not (key == "title" and isinstance(value, str)) and not (key == "default" and value is None)
    }
    for bound in ("gt", "ge", "lt", "le"):  # pydantic's words for numbers, on what is written as text
        tidy.pop(bound, None)
    return _with_substitutions(tidy)


def _with_substitutions(made: dict[str, Any]) -> dict[str, Any]:
    # A keyword of JSON Schema constrains only values of its own type, so a second type needs no second branch.
    if made.get("type") in ("integer", "number", "boolean") and "const" not in made:
        return {**made, "type": [made["type"], "string"], "pattern": _SUBSTITUTION}
    if made.get("type") == "string" and "pattern" in made:
        return {**made, "pattern": f"(?:{made['pattern']})|{_SUBSTITUTION}"}
    if made.get("type") == "string" and ("enum" in made or "const" in made):
        choice = {key: made.pop(key) for key in ("enum", "const", "type") if key in made}
        return {**made, "anyOf": [choice, {"type": "string", "pattern": _SUBSTITUTION}]}
    return made
