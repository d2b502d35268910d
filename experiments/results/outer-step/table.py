"""Tables of the runs PRESET-OUTER-seedN in a folder: PRESET.csv, and differences.csv of cheetah-dir from the authors'.

Both are of the mean return after one gradient step. Runs of one seed see the same tasks in every iteration.
"""

import re
import statistics
import sys
from pathlib import Path

from metarl.experiments.commands.output_files import write_table
from metarl.training.callbacks.csv import read_metrics

PRESETS = ("cheetah-dir", "navigation-paper")


here = Path(sys.argv[1])
curves: dict[str, dict[tuple[str, int], list[float]]] = {preset: {} for preset in PRESETS}
others = here.parent.glob("navigation-paper/maml-seed?/metrics.csv")  # the authors' outer step on navigation
for metrics in [*here.glob("**/*-seed?/metrics.csv"), *others]:
    name = metrics.parent.name
    if name.startswith("maml"):
        name = f"navigation-paper-authors{name[4:]}"
    match = re.fullmatch(rf"({'|'.join(PRESETS)})-(.*)-seed(\d)", name)
    if match is None:
        raise SystemExit(f"{metrics.parent} is not named PRESET-OUTER-seedN")
    preset, outer, seed = match.groups()
    words = outer.replace("-", " ")
    if metrics.parts[-3] == "support-too":
        words += " of the support too"
    curves[preset][words, int(seed)] = [row["rollout/return_step1"] for row in read_metrics(metrics)]

for preset, runs in curves.items():
    length = max(map(len, runs.values()))
    windows = {f"{start}..{start + 9}": slice(start, start + 10) for start in range(0, length, 10)}
    rows = [
        {"seed": seed, "outer_step": outer}
        | {name: round(statistics.mean(run[part]), 2) for name, part in windows.items()}
        for (outer, seed), run in sorted(runs.items(), key=lambda item: (item[0][1], item[0][0]))
    ]
    write_table(here / f"{preset}.csv", rows, list(rows[0]))

rows = []
cheetah = curves["cheetah-dir"]
for outer in sorted({outer for outer, _ in cheetah} - {"authors"}):
    each = {
        seed: statistics.mean(x - y for x, y in list(zip(run, cheetah["authors", seed], strict=True))[20:])
        for (name, seed), run in sorted(cheetah.items())
        if name == outer
    }
    error = statistics.stdev(each.values()) / len(each) ** 0.5 if len(each) > 1 else None
    seeds = {f"seed_{seed}": round(each[seed], 2) if seed in each else None for seed in (1, 2, 3)}
    mean = round(statistics.mean(each.values()), 2)
    rows.append({"outer_step": outer, **seeds, "mean": mean, "standard_error": error and round(error, 2)})
write_table(here / "differences.csv", rows, list(rows[0]))
