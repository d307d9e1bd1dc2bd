#!/bin/sh
# The whole way on the built-in digits: train, export, verify, predict, bench; the commands write their reports. `make quickstart` runs it.
# usage: quickstart.sh [FOLDER]      (FOLDER is replaced; mstedge is on the path)
set -eu
cd "$(dirname "$0")/.."
folder=${1:-quickstart}
bundle=$folder/digits.bundle

if [ -e "$folder" ] && [ ! -e "$folder/seconds.tsv" ]; then
    echo "$folder exists and is not an old quickstart: name another folder" >&2
    exit 2
fi
rm -rf "$folder"
mkdir -p "$folder"
: > "$folder/seconds.tsv"

# Echoes a command, runs it and notes how long it took; $1 is the name of the step.
step() {
    name=$1
    shift
    printf '\n$ %s\n' "$*"
    started=$(date +%s.%N)
    "$@"
    echo "$name $started $(date +%s.%N)" | awk '{printf "%s\t%.1f\n", $1, $3 - $2}' >> "$folder/seconds.tsv"
}

step distill mstedge distill --compare labels-only --seeds 3 -o "$folder/run"
step export mstedge export "$folder/run" -o "$bundle"
step verify mstedge verify "$bundle"
step predict mstedge predict "$bundle" "$bundle/golden"
step bench mstedge bench "$bundle"

printf '\n'
python scripts/quickstart_table.py "$folder"
