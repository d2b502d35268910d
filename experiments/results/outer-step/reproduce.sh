#!/usr/bin/env bash
# Does the default outer step (Gauss-Newton, a tenth of the query's timesteps of half of the tasks, 5 conjugate gradient
# iterations) learn as the authors' does (symmetric differences on everything, 10 iterations: -paper presets)? Runs and tables
# of this folder, from nothing, resumed where they stopped; about three hours on two cores. What is of other outer steps
# is kept as learning curves alone: all-tasks (the default on all tasks), with 3 iterations; support-too/ of 0.4.0, whose
# fraction was of the support, too (a tenth with 5 iterations, a fifth with 10).
set -euo pipefail
cd "$(dirname "$0")/../../.."
P=.venv/bin/python HERE=experiments/results/outer-step RUNS=runs/outer-step SEEDS="1 2 3"
DEFAULT="--curvature gauss_newton --curvature-fraction 0.1 --curvature-tasks 0.5 --cg-iterations 5"
CHEETAH="--outer trpo --max-kl 0.01 --tasks 40 --inner-step-size 0.1 --discount 0.99 --gae-lambda 1" # the preset in 0.5.0
CHEETAH="$CHEETAH --observation raw --hidden-sizes 100 100 --activation relu --initial-std 0.5"
AUTHORS="--curvature symmetric --curvature-fraction 1 --curvature-tasks 1 --cg-iterations 10"

for seed in $SEEDS; do
    for outer in default authors; do
        FLAGS=$([ $outer = default ] && echo "$DEFAULT" || echo "$AUTHORS")
        run() { # PRESET FLAGS...
            name=$1-$outer-seed$seed
            $P experiments/train.py "$@" $FLAGS --seed "$seed" --resume --run-dir "$RUNS/$name"
            $P experiments/evaluate.py "$RUNS/$name"
            mkdir -p $HERE/"$name"
            cp "$RUNS/$name"/{config.json,metrics.csv,evaluation.json,checkpoint.pt} $HERE/"$name"
        }
        run cheetah-dir $CHEETAH --iterations 60
        if [ $outer = default ]; then run navigation-paper; fi # the authors': experiments/results/navigation-paper
    done
done
$P $HERE/table.py $HERE
