#!/bin/sh
# Train at the published sizes on a GPU: seconds and peak memory into docs/results/gpu-<name>.json (docs/benchmarking.md).
# Needs no network and nothing installed but Python packages: the package is linked together from the tree. Packages
# that the machine lacks may lie as wheels in build/wheels (WHEELS=path puts them elsewhere).
set -eu
start=$(pwd)
cd "$(dirname "$0")/.."
root=$(pwd)
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python3
    [ ! -x .venv/bin/python ] || PYTHON=$root/.venv/bin/python
fi
wheels=${WHEELS:-build/wheels}

missing() {
    "$PYTHON" - <<'EOF'
from importlib.util import find_spec

needed = ("msgspec", "numpy", "safetensors", "torch", "torchmetrics", "yaml")
lacking = [name for name in needed if find_spec(name) is None]
if all(find_spec(name) is None for name in ("lightning_fabric", "lightning")):
    lacking.append("lightning_fabric")
print(" ".join(lacking))
EOF
}

sh scripts/link_typing.sh
site=$root/build/acceptance-site
export PYTHONPATH="$root/.typing:$root/benchmarks:$root/tests:$site${PYTHONPATH:+:$PYTHONPATH}"
if [ -n "$(missing)" ] && ls "$wheels"/*.whl >/dev/null 2>&1; then
    "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-compile --upgrade \
        --target "$site" "$wheels"/*.whl
fi
lacking=$(missing)
if [ -n "$lacking" ]; then
    echo "$PYTHON lacks: $lacking" >&2
    echo "put their wheels into $wheels; docs/benchmarking.md says how" >&2
    exit 2
fi
cd "$start"
exec "$PYTHON" "$root/benchmarks/gpu_acceptance.py" "$@"
