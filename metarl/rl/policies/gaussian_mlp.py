"""The paper's policy: a fully connected network for the mean, a standard deviation that is adapted too."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from gymnasium import Space
from gymnasium.spaces import Box

from metarl.engine.model import Model, mlp
from metarl.parts import POSITIVE, at_least
from metarl.rl.policies import POLICIES
from metarl.rl.policies.policy import Policy, gaussian, require_stds
from metarl.rl.spaces import action_size, observation_size


@POLICIES.register("gaussian_mlp")
@dataclass(frozen=True, kw_only=True)
class GaussianMLP(Policy):
    """A Gaussian over real actions: its mean is a network's, its standard deviation the same in every state."""

    action_spaces: ClassVar[tuple[type[Space], ...]] = (Box,)

    hidden_sizes: Annotated[tuple[int, ...], at_least(1)] = (100, 100)
    """Units of the policy's hidden layers."""
    activation: Literal["relu", "tanh"] = "relu"
    """Nonlinearity of the policy."""
    initial_std: Annotated[float, POSITIVE] = 1.0
    """Initial standard deviation of the actions, in the policy's units (the action space is [-1, 1])."""
    min_std: Annotated[float, POSITIVE] = 1e-6
    """Lower bound of the standard deviation."""
    head_scale: Annotated[float, POSITIVE] = 1.0
    """Factor of the initial weights of the last layer; 0.01 starts every task from actions near zero."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_stds(self.initial_std, self.min_std)

    def build(self, observation_space: Space, action_space: Space) -> Model:
        """Make the policy; see `Policy.build`."""
        self.require_fit(action_space)
        size = action_size(action_space)
        sizes = (observation_size(observation_space), *self.hidden_sizes, size)
        mean = mlp(sizes, self.activation, head_scale=self.head_scale)
        return gaussian(mean, size, initial_std=self.initial_std, min_std=self.min_std)
