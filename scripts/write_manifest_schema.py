"""Write mstedge/manifest.schema.json from the types in mstedge.manifest, or check that it is current (`--check`)."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

from mstedge.manifest import manifest_json_schema

SCHEMA_FILE = Path(__file__).resolve().parents[1] / "mstedge/manifest.schema.json"


def schema_text() -> str:
    """Write the schema as JSON, the same from every Python: from 3.13 on docstrings lose their indentation."""
    return json.dumps(_dedented(manifest_json_schema()), indent=2) + "\n"


def _dedented(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: inspect.cleandoc(each) if key == "description" and isinstance(each, str) else _dedented(each)
            for key, each in value.items()
        }
    return [_dedented(each) for each in value] if isinstance(value, list) else value


def main() -> int:
    """Write the file, or compare it."""
    text = schema_text()
    if "--check" not in sys.argv[1:]:
        SCHEMA_FILE.write_text(text, encoding="utf-8")
        return 0
    if SCHEMA_FILE.is_file() and SCHEMA_FILE.read_text(encoding="utf-8") == text:
        return 0
    print(f"{SCHEMA_FILE} is not what mstedge.manifest declares: run `make schema`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
