#!/usr/bin/env bash
# Does the fast outer step (Gauss-Newton on a tenth of the timesteps, 5 conjugate gradient iterations: the default) learn as
# the authors' does (symmetric differences on everything, 10 iterations: -paper presets)? Runs and tables of this folder,
# from nothing, resumed where they stopped; about three hours on two cores.
set -euo pipefail
cd "$(dirname "$0")/../../.."
P=.venv/bin/python HERE=experiments/results/outer-step RUNS=runs/outer-step SEEDS="1 2 3"
FAST="--curvature gauss_newton --curvature-fraction 0.1 --cg-iterations 5"
AUTHORS="--curvature symmetric --curvature-fraction 1 --cg-iterations 10"

for seed in $SEEDS; do
    for outer in fast authors; do
        FLAGS=$([ $outer = fast ] && echo "$FAST" || echo "$AUTHORS")
        run() { # PRESET FLAGS...
            $P experiments/train.py "$@" $FLAGS --seed "$seed" --resume --run-dir "$RUNS/$1-$outer-seed$seed"
            $P experiments/evaluate.py "$RUNS/$1-$outer-seed$seed"
        }
        run cheetah-dir --iterations 60
        run navigation-paper
    done
done
$P $HERE/table.py $RUNS > $HERE/learning.csv
