"""Learn to adapt: MAML for reinforcement learning, Algorithm 3 of Finn et al. 2017 with TRPO, the whole in one file.

    python examples/maml_trpo.py
    python examples/maml_trpo.py --environment metarl/HalfCheetahDir-v0 --options --inner-step-size 0.1

The first command trains for 20 iterations of 20 tasks x 20 episodes x 100 timesteps, in about 70 s of one core. Mean
returns before adaptation and after one inner step were -77 and -63 in the first iteration, -37 and -12 in the
fifteenth; on 40 held-out tasks, at the end, -40, -12, -7, -7 after 0, 1, 2, 3 steps. Published, after 100 iterations:
-40, -12, -3, -3.

The file imports nothing of metarl; Gymnasium makes its environments. Functions of ONE task say so; `vmap` adds the axis
of tasks.

    theta     meta-parameters                        support   K batches, one for each inner step
    theta'    parameters adapted to a task           query     the batch that scores theta'
    alpha     inner step size                        delta     bound of the KL divergence (max_kl)

Axes: M tasks, T timesteps, E episodes per task, O observation, A action; P parameters.

Sources: [MAML] Finn et al. 2017, arXiv 1703.03400. [TRPO] Schulman et al. 2015, arXiv 1502.05477. [GAE] Schulman et al.
2016, arXiv 1506.02438. [Duan] Duan et al. 2016, arXiv 1604.06778. [release]: the code that the authors of [MAML]
published, github.com/cbfinn/maml_rl, for what the papers leave open.
"""

import argparse
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import grad, grad_and_value, vjp, vmap
from torch.nn.functional import linear

Params = dict[str, Tensor]


@dataclasses.dataclass(frozen=True)
class Settings:
    """The options of a run, each a flag. The published navigation run [release] had the same, but for two."""

    environment: str = "metarl/Navigation2D-v0"
    options: Sequence[str] = ("reward=distance",)
    seed: int = 1
    iterations: int = 20  # published: 100, more than are needed to see it learn
    tasks: int = 20
    episodes: int = 20
    horizon: int = 100
    inner_steps: int = 1
    inner_step_size: float = 0.5
    discount: float = 0.99
    gae_lambda: float = 1.0
    max_kl: float = 0.01
    cg_iterations: int = 5  # published: 10, with which theta moves further and learning is slower
    evaluation_tasks: int = 40


# The policy -----------------------------------------------------------------------------------------------------------
class Gaussian(NamedTuple):
    """A distribution over actions with independent dimensions."""

    mean: Tensor  # [..., A]
    log_std: Tensor  # [..., A]

    def log_prob(self, actions: Tensor) -> Tensor:
        """log pi(a) of actions [..., A], the sum over the dimensions of an action: [...]."""
        z = (actions - self.mean) / self.log_std.exp()
        return -(0.5 * z**2 + self.log_std + 0.5 * math.log(2 * math.pi)).sum(-1)

    def kl(self, other: "Gaussian") -> Tensor:
        """KL(self || other) in nats, [...]."""
        variance_ratio = (2 * (self.log_std - other.log_std)).exp()
        z = (self.mean - other.mean) / other.log_std.exp()
        return (other.log_std - self.log_std + 0.5 * (variance_ratio + z**2 - 1)).sum(-1)


def initial_parameters(observation_size: int, action_size: int, generator: torch.Generator) -> Params:
    """Theta at the start (Algorithm 3, line 1)."""
    # [MAML] section 5.3: two hidden layers of 100 units.
    sizes = {"body.0": (100, observation_size), "body.1": (100, 100), "head": (action_size, 100)}
    theta = {}
    for layer, (fan_out, fan_in) in sizes.items():
        # [release]: Xavier-uniform weights, biases of zero.
        bound = math.sqrt(6 / (fan_in + fan_out))
        theta[f"{layer}.weight"] = bound * (2 * torch.rand(fan_out, fan_in, generator=generator) - 1)
        theta[f"{layer}.bias"] = torch.zeros(fan_out)
    # [release]: a standard deviation of 1 in every state; it is adapted like all parameters.
    theta["log_std"] = torch.zeros(action_size)
    return theta


def policy(theta: Params, observations: Tensor) -> Gaussian:
    """pi_theta(a | s): the distribution of the actions at observations [..., O]."""
    hidden = torch.relu(linear(observations, theta["body.0.weight"], theta["body.0.bias"]))
    hidden = torch.relu(linear(hidden, theta["body.1.weight"], theta["body.1.bias"]))
    mean = linear(hidden, theta["head.weight"], theta["head.bias"])
    # [release]: the standard deviation is at least 1e-6.
    return Gaussian(mean, theta["log_std"].clamp(min=math.log(1e-6)).expand_as(mean))


# Rollouts -------------------------------------------------------------------------------------------------------------
class Batch(NamedTuple):
    """What the losses need of E episodes of ONE task; of M tasks, every field has a leading M."""

    observations: Tensor  # [T, E, O] before the action
    actions: Tensor  # [T, E, A] as sampled: the environment clips them, log pi does not
    log_probs: Tensor  # [T, E] of the actions under the policy that took them
    advantages: Tensor  # [T, E]
    mask: Tensor  # [T, E] 1 where the timestep belongs to its episode, 0 after the episode's end


@torch.no_grad()
def rollout(
    env: Any, thetas: Params, tasks: NDArray[np.float64], settings: Settings, generator: torch.Generator
) -> tuple[Batch, Tensor]:
    """E episodes of each of M tasks under its own parameters (Algorithm 3, lines 5 and 8).

    Takes M x E environments without auto-reset, parameters with leaves [M, ...], and tasks [M, k]. Returns a batch with
    fields [M, T, E, ...], and the return of every episode, [M, E].
    """
    num_tasks = len(tasks)
    dtype = thetas["log_std"].dtype

    def per_task(values: NDArray[Any]) -> Tensor:
        """[M x E, ...] of the environments as [M, E, ...]."""
        return torch.tensor(values, dtype=dtype).unflatten(0, (num_tasks, -1))

    observations, _ = env.reset(options={"tasks": tasks.repeat(env.num_envs // num_tasks, axis=0)})
    running = np.ones(env.num_envs, np.bool_)
    timesteps = []
    for _ in range(settings.horizon):
        s = per_task(observations)
        pi = vmap(policy)(thetas, s)
        a = pi.mean + pi.log_std.exp() * torch.randn(pi.mean.shape, generator=generator, dtype=dtype)
        observations, rewards, terminated, truncated, info = env.step(a.flatten(0, 1).numpy())
        # A simulation that has broken down ends its episode, and the numbers of this timestep mean nothing.
        counts = running & ~info["diverged"]
        timesteps.append((s, a, pi.log_prob(a), per_task(np.where(counts, rewards, 0.0)), per_task(counts)))
        running = counts & ~terminated & ~truncated
        if not running.any():
            break

    s, a, log_probs, r, mask = (torch.stack(values, dim=1) for values in zip(*timesteps, strict=True))
    of_tasks = zip(s.double(), r.double(), mask.double(), strict=True)
    advantages = [normalized_advantages(*of_task, settings) for of_task in of_tasks]
    return Batch(s, a, log_probs, torch.stack(advantages).to(dtype), mask), r.sum(1)


# Advantages -----------------------------------------------------------------------------------------------------------
def discounted_sums(values: Tensor, discount: float) -> Tensor:
    """sum_l discount^l values[t + l]: [T, E] -> [T, E]."""
    total = torch.zeros_like(values[0])
    sums = []
    for value in values.flip(0):
        total = value + discount * total
        sums.append(total)
    return torch.stack(sums).flip(0)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the valid timesteps of ONE task, each with the same weight: [T, E] -> scalar."""
    return (values * mask).sum() / mask.sum()


def baseline(observations: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """V(s_t), a linear regression of the returns of ONE task on features of the states: [T, E]."""
    # [Duan] section 5: the observation, its square, and powers of the time.
    clipped = observations.clamp(-10, 10)
    t = torch.arange(len(returns)).to(returns) / 100
    powers = torch.stack([t, t**2, t**3, torch.ones_like(t)], -1)[:, None].expand(*returns.shape, 4)
    features = torch.cat([clipped, clipped**2, powers], -1) * mask[..., None]
    # [release]: fitted to the rollouts that it serves, for every task and inner step anew, with a ridge of 1e-5.
    x = features.flatten(0, 1)
    y = (returns * mask).flatten()
    weights = torch.linalg.solve(x.T @ x + 1e-5 * torch.eye(x.shape[1]).to(x), x.T @ y)
    return features @ weights


def normalized_advantages(observations: Tensor, rewards: Tensor, mask: Tensor, settings: Settings) -> Tensor:
    """A_t of ONE task: [T, E], 0 after the end of an episode. In float64: the regression needs it."""
    discount = settings.discount
    values = baseline(observations, discounted_sums(rewards, discount), mask)
    # [release]: no value after the last timestep; the horizon is an end like any other.
    next_values = torch.cat([values[1:], torch.zeros_like(values[:1])])
    # [GAE] equation 16.
    advantages = discounted_sums(rewards + discount * next_values - values, discount * settings.gae_lambda)
    # [release]: mean 0 and standard deviation 1 over all timesteps of the task.
    centred = (advantages - masked_mean(advantages, mask)) * mask
    return centred / (masked_mean(centred**2, mask).sqrt() + 1e-8)


# Adaptation to a task -------------------------------------------------------------------------------------------------
def inner_loss(theta: Params, batch: Batch) -> Tensor:
    """L(theta) of ONE task: the loss of the policy gradient ([MAML] equation 4)."""
    log_probs = policy(theta, batch.observations).log_prob(batch.actions)
    return -masked_mean(log_probs * batch.advantages, batch.mask)


def inner_step(theta: Params, batch: Batch, alpha: float) -> Params:
    """theta - alpha grad L(theta) of ONE task ([MAML] equation 1; Algorithm 3, lines 6 and 7)."""
    gradient = grad(inner_loss)(theta, batch)
    return {name: leaf - alpha * gradient[name] for name, leaf in theta.items()}


# The meta-objective: adapted policies as functions of theta -----------------------------------------------------------
def adapted_policy(theta: Params, batches: Sequence[Batch], alpha: float) -> Gaussian:
    """pi_theta' of ONE task in the states of its query, the last batch; an inner step for each batch before it."""
    *support, query = batches
    for batch in support:
        theta = inner_step(theta, batch, alpha)
    return policy(theta, query.observations)


def loss_and_kl(theta: Params, batches: Sequence[Batch], alpha: float, old: Gaussian) -> tuple[Tensor, Tensor]:
    """L(theta') of ONE task ([TRPO] equation 14), and KL(old || pi_theta') to its adapted policy before the step."""
    query = batches[-1]
    pi = adapted_policy(theta, batches, alpha)
    # Masked before exp, which could overflow after the end of an episode.
    log_ratio = (pi.log_prob(query.actions) - query.log_probs) * query.mask
    return -masked_mean(log_ratio.exp() * query.advantages, query.mask), masked_mean(old.kl(pi), query.mask)


def meta_objective(theta: Params, batches: Sequence[Batch], alpha: float, old: Gaussian) -> tuple[Tensor, Tensor]:
    """The meta-loss, whose gradient goes through the inner steps, and the mean KL: the means over tasks, in float64."""
    losses, kls = vmap(loss_and_kl, (None, 0, None, 0))(theta, batches, alpha, old)
    return losses.double().mean(), kls.double().mean()


def kl_hessian(theta: Params, batches: Sequence[Batch], alpha: float, old: Gaussian) -> Callable[[Tensor], Tensor]:
    """The function v -> H v of a vector v [P]: H is the Hessian, [P, P], of the mean KL at theta, where it is smallest.

    H is never built: it is the Jacobian of the KL's gradient, and symmetric, so that H v is v^T H, a pass backward.
    """
    kl_gradient = grad(lambda theta: meta_objective(theta, batches, alpha, old)[1])
    pull_back = vjp(kl_gradient, theta)[1]
    return lambda v: flatten(pull_back(unflatten(v, theta))[0])


# TRPO -----------------------------------------------------------------------------------------------------------------
def flatten(leaves: Params) -> Tensor:
    """Parameters or a gradient as one vector [P], in float64."""
    return torch.cat([leaf.double().flatten() for leaf in leaves.values()])


def unflatten(vector: Tensor, like: Params) -> Params:
    """A vector [P] as parameters with the names, shapes and dtype of others."""
    pieces = vector.split([leaf.numel() for leaf in like.values()])
    leaves = zip(like.items(), pieces, strict=True)
    return {name: piece.reshape(leaf.shape).to(leaf.dtype) for (name, leaf), piece in leaves}


def conjugate_gradient(hessian: Callable[[Tensor], Tensor], g: Tensor, iterations: int) -> tuple[Tensor, float]:
    """x = (H + damping I)^-1 g [P], and x^T (H + damping I) x ([TRPO] appendix C)."""
    x = torch.zeros_like(g)
    residual = g
    direction = g
    for _ in range(iterations):
        squared = residual @ residual
        # [release]: tolerance 1e-10, damping 1e-5.
        if squared < 1e-10:
            break
        product = hessian(direction) + 1e-5 * direction
        length = squared / (direction @ product)
        x = x + length * direction
        residual = residual - length * product
        direction = residual + (residual @ residual) / squared * direction
    return x, (x @ (g - residual)).item()


def trpo_step(theta: Params, batches: Sequence[Batch], settings: Settings) -> tuple[Params, float]:
    """Theta after the outer step of Algorithm 3, line 10, and the KL of the step; 0 if no length of it qualified."""
    alpha = settings.inner_step_size
    old = vmap(adapted_policy, (None, 0, None))(theta, batches, alpha)
    gradient, (loss, _) = grad_and_value(meta_objective, has_aux=True)(theta, batches, alpha, old)
    hessian = kl_hessian(theta, batches, alpha, old)
    x, quadratic = conjugate_gradient(hessian, flatten(gradient), settings.cg_iterations)
    # The longest step whose KL is max_kl by its quadratic model ([TRPO] appendix C; [release] for the 1e-8).
    full_step = math.sqrt(2 * settings.max_kl / (quadratic + 1e-8)) * x
    # [release]: 15 lengths, each 0.8 of the one before.
    for backtracks in range(15):
        step = unflatten(0.8**backtracks * full_step, theta)
        moved = {name: leaf - step[name] for name, leaf in theta.items()}
        moved_loss, kl = meta_objective(moved, batches, alpha, old)
        if moved_loss < loss and kl <= settings.max_kl:
            return moved, kl.item()
    return theta, 0.0


# Algorithm 3, and its test --------------------------------------------------------------------------------------------
def make_env(settings: Settings, tasks: int, seed: int) -> Any:
    """A vector of tasks x E environments: Gymnasium's interface, and `sample_tasks(rng, n)` beside it."""
    options: dict[str, Any] = dict(option.split("=") for option in settings.options)
    number = tasks * settings.episodes
    # Gymnasium imports `metarl.envs`, where its environments are registered.
    name = f"metarl.envs:{settings.environment}"
    env = gymnasium.make_vec(name, num_envs=number, horizon=settings.horizon, **options)
    env.reset(seed=seed)
    return env


def roll_out_and_adapt(
    env: Any,
    theta: Params,
    tasks: NDArray[np.float64],
    alphas: Sequence[float],
    settings: Settings,
    generator: torch.Generator,
) -> tuple[list[Batch], list[float]]:
    """Rollouts after 0 .. K inner steps of sizes `alphas`, and their mean returns (Algorithm 3, lines 4 to 9)."""
    thetas = {name: leaf.expand(len(tasks), *leaf.shape) for name, leaf in theta.items()}
    batches = []
    means = []
    for step in range(len(alphas) + 1):
        if step > 0:
            thetas = vmap(inner_step, (0, 0, None))(thetas, batches[-1], alphas[step - 1])
        batch, returns = rollout(env, thetas, tasks, settings, generator)
        batches.append(batch)
        means.append(returns.mean().item())
    return batches, means


def train(settings: Settings) -> Params:
    """Algorithm 3: theta after all iterations."""
    rng = np.random.default_rng(settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    env = make_env(settings, settings.tasks, settings.seed)
    theta = initial_parameters(env.single_observation_space.shape[0], env.single_action_space.shape[0], generator)
    alphas = [settings.inner_step_size] * settings.inner_steps
    for iteration in range(settings.iterations):
        tasks = env.sample_tasks(rng, settings.tasks)
        batches, returns = roll_out_and_adapt(env, theta, tasks, alphas, settings, generator)
        theta, kl = trpo_step(theta, batches, settings)
        words = ", ".join(f"{mean:.1f} after {step}" for step, mean in enumerate(returns))
        print(f"iteration {iteration}: return {words}; KL {kl:.4f}", flush=True)
    env.close()
    return theta


def evaluate(theta: Params, settings: Settings, steps: int = 3) -> list[float]:
    """Mean returns on held-out tasks after 0 .. `steps` inner steps, each from fresh rollouts."""
    # Generators other than those of the training: other tasks, other noise.
    seed = settings.seed + 2**31
    generator = torch.Generator().manual_seed(seed)
    env = make_env(settings, settings.evaluation_tasks, seed)
    tasks = env.sample_tasks(np.random.default_rng(seed), settings.evaluation_tasks)
    # [MAML] appendix A.2: the step size is halved after the first step.
    alphas = [settings.inner_step_size, *[settings.inner_step_size / 2] * steps][:steps]
    returns = roll_out_and_adapt(env, theta, tasks, alphas, settings, generator)[1]
    env.close()
    return returns


def parse() -> Settings:
    """The settings, from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in dataclasses.fields(Settings):
        takes: dict[str, Any] = {"nargs": "*"} if field.name == "options" else {"type": type(field.default)}
        parser.add_argument("--" + field.name.replace("_", "-"), default=field.default, **takes)
    return Settings(**vars(parser.parse_args()))


if __name__ == "__main__":
    settings = parse()
    theta = train(settings)
    for step, mean in enumerate(evaluate(theta, settings)):
        print(f"held-out tasks: return {mean:.1f} after {step} gradient steps")
