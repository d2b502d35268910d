#!/usr/bin/env bash
# The runs, tables and figures of this folder, from nothing; resumed where they stopped. About an hour and a half each on two
# cores. contacts-with.csv and contacts-without.csv are metrics of two earlier runs of the same sizes (60 to 70 iterations,
# forward differences), with and without contact terms in the observation.
set -euo pipefail
cd "$(dirname "$0")/../../.."
P=.venv/bin/python HERE=experiments/results/ants
REMEDY="--observation compact --hidden-sizes 64 64 --activation tanh --initial-std 0.3 --max-kl 0.02"
SIZE="--curvature gauss_newton --curvature-fraction 0.2 --tasks 20 --episodes 20 --iterations 200"

for goal in dir vel goal; do
    run=runs/ant-$goal-compact-seed1
    $P experiments/train.py ant-$goal-paper $REMEDY $SIZE --run-dir $run --resume
    $P experiments/evaluate.py $run
    $P experiments/plot.py $run --output $HERE/ant-$goal.png --table $HERE/ant-$goal.csv
done
