"""Networks as users write them."""

from torch import Tensor, nn


class Net(nn.Module):
    """A network with a normalisation layer and an option."""

    def __init__(self, observation_size: int, action_size: int, *, width: int = 8) -> None:
        super().__init__()
        layers = (nn.Linear(observation_size, width), nn.LayerNorm(width), nn.Tanh(), nn.Linear(width, action_size))
        self.layers = nn.Sequential(*layers)

    def forward(self, observations: Tensor) -> Tensor:
        return self.layers(observations)
