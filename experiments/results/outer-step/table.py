"""Learning curves of the runs in a folder, PRESET-OUTER-seedN each: mean return after one gradient step, by tens."""

import csv
import sys
from pathlib import Path

print("preset,outer_step,seed,first_iteration,last_iteration,return_step1")
for metrics in sorted(Path(sys.argv[1]).glob("**/*-seed?/metrics.csv")):
    preset, outer, seed = metrics.parent.name.rsplit("-", 2)
    words = " of the support too" if metrics.parts[-3] == "support-too" else ""
    returns = [float(row["rollout/return_step1"]) for row in csv.DictReader(metrics.open())]
    for start in range(0, len(returns), 10):
        ten = returns[start : start + 10]
        print(f"{preset},{outer}{words},{seed[4:]},{start},{start + len(ten) - 1},{sum(ten) / len(ten):.2f}")
