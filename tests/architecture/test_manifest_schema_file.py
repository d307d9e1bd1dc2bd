"""The JSON Schema that ships is the one that the types declare."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import jsonschema

CHECKOUT = Path(__file__).resolve().parents[2]


def test_schema_file_is_current() -> None:
    command = [sys.executable, str(CHECKOUT / "scripts/write_manifest_schema.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_schema_file_is_a_schema() -> None:
    schema = json.loads((files("mstedge") / "manifest.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["title"] == "mstedge.manifest/1"
