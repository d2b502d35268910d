#!/usr/bin/env bash
# The figure and tables of this folder, from nothing: about 20 minutes a seed on one core, resumed where it stopped.
set -euo pipefail
cd "$(dirname "$0")/../../.."
P=.venv/bin/python HERE=experiments/results/navigation-paper SEEDS="1 2 3"

for seed in $SEEDS; do
    $P experiments/train.py navigation-paper --seed "$seed" --resume
    $P experiments/train.py navigation-paper --seed "$seed" --method random --activation tanh --resume # as published
    for method in maml random; do $P experiments/evaluate.py runs/navigation-paper-$method-seed"$seed"; done
done
$P experiments/plot.py runs/navigation-paper-{maml,random}-seed? --output $HERE/figure.png --table $HERE/table.csv

# The same policies under other test protocols: which episodes count, which step sizes, which iterate.
protocol() { # NAME FLAGS...
    name=$1 && shift
    for seed in $SEEDS; do
        $P experiments/evaluate.py runs/navigation-paper-maml-seed"$seed" --output runs/protocols/"$name-$seed" "$@"
    done
}
protocol published
protocol best-iterate --checkpoint best
protocol complete-episodes --counting episodes
protocol complete-episodes-0.1 --counting episodes --step-sizes 0.5 0.1
protocol complete-episodes-halving --counting episodes --step-sizes 0.5 0.25 0.125 0.0625
$P - > $HERE/protocols.csv <<'PYTHON'
import json
from pathlib import Path

print("protocol,counting,checkpoint,step_sizes,seeds,gradient_steps,mean")
for name in ("published", "best-iterate", "complete-episodes", "complete-episodes-0.1", "complete-episodes-halving"):
    runs = [json.loads((Path("runs/protocols") / f"{name}-{seed}" / "evaluation.json").read_text()) for seed in (1, 2, 3)]
    for step in range(len(runs[0]["steps"])):
        mean = sum(run["steps"][step]["average_return"]["mean"] for run in runs) / len(runs)
        sizes = " ".join(map(str, runs[0]["step_sizes"]))
        print(f"{name},{runs[0]['counting']},{runs[0]['checkpoint']},{sizes},{len(runs)},{step},{mean:.3f}")
PYTHON
