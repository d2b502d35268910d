"""What users launch, one command a file: the only place that brings the library and its environments together.

Commands share what is in the packages here. Presets and experiments are added in `presets/options.py` and `catalogue/`.
"""

import os

from metarl.operating_system import forget_missing_backend

# Before torch is loaded: its threads shall sleep while they wait. Spinning, they take the cores from MuJoCo's threads
# and from other runs: with three runs on two cores, outer steps took 5 times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

forget_missing_backend()
