#!/usr/bin/env bash
# The runs, tables and figure of this folder, from nothing; resumed where it stopped. About 20 minutes a seed on two cores.
set -euo pipefail
cd "$(dirname "$0")/../../.."
P=.venv/bin/python HERE=experiments/results/cheetah-dir-paper
FIFTH="--curvature-fraction 0.2"

for seed in 1 2 3; do
    run=runs/cheetah-dir-paper-gauss-newton-seed$seed
    $P experiments/train.py cheetah-dir-paper --curvature gauss_newton $FIFTH --seed $seed --run-dir $run --resume
    $P experiments/evaluate.py $run
done
$P experiments/plot.py runs/cheetah-dir-paper-gauss-newton-seed? --output $HERE/figure.png --table $HERE/table.csv

run=runs/cheetah-dir-paper-symmetric-seed1
$P experiments/train.py cheetah-dir-paper $FIFTH --run-dir $run --resume
$P experiments/evaluate.py $run
