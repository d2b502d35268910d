#!/usr/bin/env bash
# Runs and figures of this folder, resumed where they stopped. DATA is a folder or file for --data-dir; without it the dataset
# is downloaded into data/omniglot. Several hours each on two cores.
set -euo pipefail
cd "$(dirname "$0")/../../.."
P=.venv/bin/python HERE=experiments/results/omniglot RUNS=runs/omniglot
DATA=(${DATA:+--data-dir "$DATA"})

run() { # NAME PRESET FLAGS...
    name=$1 && shift
    $P experiments/train.py "$@" "${DATA[@]}" --resume --run-dir "$RUNS/$name"
    $P experiments/evaluate.py "$RUNS/$name"
    $P experiments/plot.py "$RUNS/$name" --output "$HERE/$name.png" --table "$HERE/$name.csv"
}

run 5way-1shot omniglot-5way-1shot --iterations 20000
run 5way-5shot omniglot-5way-5shot --iterations 20000
run dense-5way-1shot omniglot-5way-1shot --network dense --hidden-sizes 256 128 64 64 --iterations 20000
