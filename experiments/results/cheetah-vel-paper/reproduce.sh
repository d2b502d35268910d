#!/usr/bin/env bash
# The run, table and figure of this folder, from nothing; resumed where it stopped. One to two hours on two cores, by how
# busy they are. (symmetric-seed1: --curvature symmetric, stopped at iteration 357 of 475.)
set -euo pipefail
cd "$(dirname "$0")/../../.."
P=.venv/bin/python HERE=experiments/results/cheetah-vel-paper
RUN=runs/cheetah-vel-paper-gauss-newton-seed1

$P experiments/train.py cheetah-vel-paper --curvature gauss_newton --curvature-fraction 0.2 --run-dir $RUN --resume
$P experiments/evaluate.py $RUN
$P experiments/plot.py $RUN --output $HERE/figure.png --table $HERE/table.csv
