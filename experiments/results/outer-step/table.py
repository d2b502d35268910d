"""Of the runs in a folder, PRESET-OUTER-seedN each: learning.csv, and differences.csv of cheetah-dir from the authors'.

Both are of the mean return after one gradient step. Runs of one seed see the same tasks in every iteration.
"""

import csv
import statistics
import sys
from pathlib import Path

here = Path(sys.argv[1])
curves: dict[tuple[str, str, str], list[float]] = {}
for metrics in sorted(here.glob("**/*-seed?/metrics.csv")):
    preset, outer, seed = metrics.parent.name.rsplit("-", 2)
    words = " of the support too" if metrics.parts[-3] == "support-too" else ""
    with metrics.open() as file:
        curves[preset, outer + words, seed] = [float(row["rollout/return_step1"]) for row in csv.DictReader(file)]

with (here / "learning.csv").open("w") as file:
    print("preset,outer_step,seed,first_iteration,last_iteration,return_step1", file=file)
    for (preset, outer, seed), returns in curves.items():
        for start in range(0, len(returns), 10):
            ten = returns[start : start + 10]
            mean = statistics.mean(ten)
            print(f"{preset},{outer},{seed[4:]},{start},{start + len(ten) - 1},{mean:.2f}", file=file)

with (here / "differences.csv").open("w") as file:
    print("outer_step,seeds,first_iteration,last_iteration,difference,standard_error_over_seeds", file=file)
    for outer in sorted({outer for preset, outer, _ in curves if preset == "cheetah-dir"} - {"authors"}):
        each = {}
        for seed in (seed for preset, name, seed in curves if (preset, name) == ("cheetah-dir", outer)):
            pairs = zip(curves["cheetah-dir", outer, seed], curves["cheetah-dir", "authors", seed], strict=True)
            each[seed] = statistics.mean([ours - theirs for ours, theirs in pairs][20:])
            print(f"{outer},{seed[4:]},20,59,{each[seed]:.2f},", file=file)
        if len(each) > 1:
            error = statistics.stdev(each.values()) / len(each) ** 0.5
            seeds = " ".join(seed[4:] for seed in each)
            print(f"{outer},{seeds},20,59,{statistics.mean(each.values()):.2f},{error:.2f}", file=file)
