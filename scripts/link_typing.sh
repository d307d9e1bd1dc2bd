#!/bin/sh
# Type checkers know nothing of setuptools' package-dir mapping: show them the package as it is installed.
set -eu
cd "$(dirname "$0")/.."
mkdir -p .typing/mstedge
find .typing -xtype l -delete
for entry in mstedge/* runtime training export; do
    name=$(basename "$entry")
    case "$name" in __pycache__) continue ;; esac
    ln -sfn "../../$entry" ".typing/mstedge/$name"
done
