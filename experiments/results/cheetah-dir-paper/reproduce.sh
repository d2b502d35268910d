#!/usr/bin/env bash
# The runs, table, figure and film of this folder, from nothing; resumed where it stopped. 20 to 50 minutes a run on two
# cores, by how busy they are.
set -euo pipefail
cd "$(dirname "$0")/../../.."
P=.venv/bin/python HERE=experiments/results/cheetah-dir-paper

train() { # CURVATURE SEED RUN FLAGS...
    $P experiments/train.py cheetah-dir-paper --curvature "$1" --curvature-fraction 0.2 --seed "$2" --run-dir "$3" --resume \
        "${@:4}"
    $P experiments/evaluate.py "$3"
}
for seed in 1 2; do
    train gauss_newton $seed runs/cheetah-dir-paper-gauss-newton-seed$seed
done
$P experiments/plot.py runs/cheetah-dir-paper-gauss-newton-seed? --output $HERE/figure.png --table $HERE/table.csv
$P experiments/render.py runs/cheetah-dir-paper-gauss-newton-seed1 --height 160 --output $HERE/film.gif

longer=runs/cheetah-dir-paper-gauss-newton-seed1-longer
[ -d $longer ] || cp -r runs/cheetah-dir-paper-gauss-newton-seed1 $longer
train gauss_newton 1 $longer --iterations 140

train symmetric 1 runs/cheetah-dir-paper-symmetric-seed1
