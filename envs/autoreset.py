"""Gymnasium's auto-reset modes around a TaskVectorEnv, for those who train something else than metarl on our tasks.

Axes: n environments.
"""

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorWrapper
from numpy.typing import ArrayLike

from metarl.arrays import Array, Mask, on_device, on_host
from metarl.envs.batched import TaskVectorEnv


class AutoReset(VectorWrapper[Any, Any, Any]):
    """Environments that start a new episode of the same task by themselves, as Gymnasium's vector environments do.

    Meta-training refuses them: it plays complete episodes, and starts them itself.

    Args:
        env: n environments.
        mode: NEXT_STEP: the step after an end is a reset, whose action is not used and whose reward is 0. SAME_STEP: a
            step that ends an episode returns the first observation of the next one; the last one, and the last info,
            are `info["final_obs"]` and `info["final_info"]`, where `info["_final_obs"]` is true.
    """

    def __init__(self, env: TaskVectorEnv, mode: AutoresetMode) -> None:
        super().__init__(env)
        self.metadata = env.metadata | {"autoreset_mode": mode}
        self._same_step = mode is AutoresetMode.SAME_STEP
        self._device = env.tensor_device
        self._over: Any = on_device(np.zeros(env.num_envs, np.bool_), self._device)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Start episodes; see TaskVectorEnv.reset."""
        result = self.env.reset(seed=seed, options=options)
        started = np.asarray((options or {}).get("reset_mask", np.ones(self.num_envs, np.bool_)))
        self._over = self._over & ~on_device(started, self._device)
        return result

    def step(self, actions: ArrayLike) -> tuple[Array, Array, Mask, Mask, dict[str, Any]]:
        """Make one timestep, and start the episodes that are due."""
        seen, rewards, terminated, truncated, info = self.env.step(actions)
        due = (terminated | truncated) if self._same_step else self._over
        if due.any():
            started, begun = self.env.reset(options={"reset_mask": on_host(due)})
            if self._same_step:
                last = np.full(len(due), None, object)
                for i in np.flatnonzero(on_host(due)):
                    last[i] = seen[i]
                final = {"final_obs": last, "_final_obs": due, "final_info": dict(info), "_final_info": due}
                begun = begun | final
            else:
                terminated = terminated & ~due
                truncated = truncated & ~due
            seen = started
            info = info | begun
        if not self._same_step:
            self._over = terminated | truncated
        return seen, rewards, terminated, truncated, info
