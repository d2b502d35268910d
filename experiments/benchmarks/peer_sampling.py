"""Half-cheetahs sampled with a policy: by metarl, and by Stable-Baselines3's PPO from Gymnasium's environment."""

import itertools
import statistics
from typing import Any

import torch

from metarl.experiments.benchmarks.report import seconds, spread
from metarl.experiments.benchmarks.sampling import HORIZON, Loops
from metarl.extras import needs
from metarl.threads import torch_threads

with needs("peers", "comparisons with other packages"):
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

VECTORS = {"dummy": DummyVecEnv, "subproc": SubprocVecEnv}  # one process for all environments, one for each
NUM_ENVS = (1, 4, 16)
STEPS = 4096  # environment steps of a measurement
POLICY = {"net_arch": {"pi": [100, 100], "vf": []}, "activation_fn": torch.nn.ReLU}  # the paper's, a linear value


@torch_threads(1)
def sampling(*, quick: bool) -> list[dict[str, Any]]:
    """The rows of `sampling`: see `peers.peers`.

    metarl has 800 environments, of 40 tasks. Tensors are so small that a second thread of torch helps neither.
    """
    tasks, horizon, repeats = (2, 5, 2) if quick else (40, HORIZON, 5)
    kinds = ["dummy"] if quick else list(VECTORS)
    loops = Loops("metarl/HalfCheetahDir-v0", "gymnasium", tasks, horizon)
    others = {(kind, n): Sampler(kind, n, 32 if quick else STEPS) for kind, n in itertools.product(kinds, NUM_ENVS)}
    rounds = []
    for repeat in range(repeats):
        ours = loops.closed(repeat)
        rounds.append((ours, {key: other.rate() for key, other in others.items()}))
    rates = [ours for ours, _ in rounds]
    first = {"package": "metarl", "num_envs": loops.env.num_envs, "steps_per_s": statistics.median(rates)}
    rows: list[dict[str, Any]] = [first | spread([1.0])]
    for (kind, n), other in others.items():
        rates = [theirs[kind, n] for _, theirs in rounds]
        row = {"package": f"stable-baselines3, {kind}", "num_envs": n, "steps_per_s": statistics.median(rates)}
        rows.append(row | spread([ours / theirs[kind, n] for ours, theirs in rounds]))
        other.close()
    return rows


class Sampler(PPO):
    """Stable-Baselines3's PPO without its outer steps: what `learn` then does is to sample.

    Args:
        kind: a key of VECTORS.
        num_envs: number of environments.
        steps: environment steps of each `rate`, a multiple of `num_envs`.
    """

    def __init__(self, kind: str, num_envs: int, steps: int) -> None:
        vector = make_vec_env("HalfCheetah-v5", n_envs=num_envs, seed=0, vec_env_cls=VECTORS[kind])
        super().__init__(
            "MlpPolicy", vector, n_steps=steps // num_envs, batch_size=steps, policy_kwargs=POLICY, device="cpu"
        )
        self.steps = steps
        # The first one also resets and allocates.
        self.rate()

    def train(self) -> None:
        """Leave the policy as it is."""

    def rate(self) -> float:
        """Environment steps per second."""
        return self.steps / seconds(lambda: self.learn(self.steps, reset_num_timesteps=False))

    def close(self) -> None:
        """End the environments' processes."""
        assert self.env is not None
        self.env.close()
