"""The experiments of the paper and of the documentation: the runs that are trained, and those that share a figure."""

from typing import get_args

from metarl.experiments.catalogue.experiment import SEEDS, Experiment, Protocol, Training, seeded
from metarl.problems import Method

MORE_SEEDS = (1, 2, 3, 4, 5, 6)
METHODS: tuple[Method, ...] = get_args(Method)


def _names(runs: tuple[Training, ...]) -> tuple[str, ...]:
    return tuple(training.name for training in runs)


def _navigation() -> Experiment:
    """Navigation; the other methods have more seeds, because they are quick and differ more by the seed."""
    # The default, by name, as the published runs have it.
    shared = "--finite-difference-epsilon 0.003"
    seeds = dict.fromkeys(METHODS, MORE_SEEDS) | {"maml": SEEDS}
    runs = tuple(
        run
        for method in METHODS
        for run in seeded(method, "navigation-paper", f"--method {method} {shared}", seeds[method])
    )
    maml = _names(runs[: len(SEEDS)])
    protocols = {
        "as-published": "",
        "best-iterate": "--checkpoint best",
        "complete-episodes": "--counting episodes",
        "complete-episodes-0.1": "--counting episodes --step-sizes 0.5 0.1",
        "complete-episodes-halving": "--counting episodes --step-sizes 0.5 0.25 0.125 0.0625",
    }
    return Experiment(
        runs,
        {"figure": _names(runs)},
        tuple(Protocol(name, maml, flags) for name, flags in protocols.items()),
        policies=maml[:1],
    )


def _cheetah(preset: str, seeds: tuple[int, ...]) -> Experiment:
    """MAML at the published size, curvature from a fifth of the query; other methods for 300 of 1,000 iterations."""
    gauss_newton = "--curvature gauss_newton --curvature-fraction 0.2"
    runs = (
        *seeded("gauss-newton", preset, gauss_newton, seeds),
        *(
            Training(f"{method}-seed1", preset, f"--method {method} {gauss_newton} --iterations 300")
            for method in METHODS[1:]
        ),
    )
    return Experiment(runs, {"figure": _names(runs)}, policies=("gauss-newton-seed1",))


# What `cheetah-dir` had before 0.13: no floor of the standard deviation, and a learning rate that falls sooner.
FREE_STD = "--min-std 1e-6 --schedule-steps 6000 --final-share 0.2"
# The best settings that were found for TRPO on the half-cheetah.
TRPO_AT_ITS_BEST = (
    "--outer trpo --max-kl 0.05 --initial-std 0.5 --min-std 1e-6 --head-scale 1 --inner-step-size 0.15 --tasks 40"
)


def _robot(preset: str, iterations: int, seeds: tuple[int, ...] = SEEDS, policies: int = 1) -> Experiment:
    """MAML with the preset's settings for a part of its iterations; the results have so many seeds' policies."""
    runs = seeded("maml", preset, f"--iterations {iterations} --checkpoint-every 10", seeds)
    return Experiment(runs, {"figure": _names(runs)}, policies=_names(runs[:policies]))


def _long(preset: str) -> Experiment:
    """MAML with the preset's settings and all of its iterations: 40 million timesteps a seed."""
    runs = seeded("maml", preset, "--checkpoint-every 10")
    return Experiment(runs, {"figure": _names(runs)}, policies=_names(runs[:1]))


def _cavia(preset: str, iterations: int, seeds: tuple[int, ...] = SEEDS, policies: int = 1) -> Experiment:
    """CAVIA in place of MAML, as the preset has it; the results have so many seeds' policies."""
    runs = seeded("cavia", preset, f"--rule cavia --iterations {iterations} --checkpoint-every 10", seeds)
    return Experiment(runs, {"figure": _names(runs)}, policies=_names(runs[:policies]))


def _free_std() -> Experiment:
    """`cheetah-dir` as it was before 0.13: MAML for 8 million timesteps a seed, CAVIA for 40 million."""
    flags = f"{FREE_STD} --checkpoint-every 10"
    maml = seeded("maml", "cheetah-dir", f"{flags} --iterations 200")
    cavia = seeded("cavia", "cheetah-dir", f"--rule cavia {flags} --iterations 1000", (1,))
    return Experiment((*maml, *cavia), {"figure": _names((*maml, *cavia))})


def _cavia_long() -> Experiment:
    """CAVIA on `cheetah-dir` for 40 million timesteps a seed: nine tenths with the preset's floor of the policy's std.

    Without the floor the policy's noise is soon so small that steps within the KL divergence hardly change the policy.
    """
    flags = "--rule cavia --checkpoint-every 10"
    floor = seeded("floor", "cheetah-dir", f"{flags} --iterations 900")
    settle = f"{flags} --min-std 1e-6 --schedule constant --learning-rate 2e-4 --iterations 100"
    last = tuple(
        run._replace(after=before.name)
        for run, before in zip(seeded("cavia", "cheetah-dir", settle), floor, strict=True)
    )
    figures = {"figure": _names(last), "floor": _names(floor)}
    films = {"film.gif": (last[0].name, "--height 128 --speed 3")}
    return Experiment((*floor, *last), figures, films=films, policies=(last[0].name,))


def _ant_dir_cavia() -> Experiment:
    """CAVIA on `ant-dir` in four parts: as the preset has it, then with a floor of the policy's std, then without it.

    The part with the floor begins with small meta-batches and ends with large ones, whose tasks adapt with less noise.
    """
    flags = "--rule cavia --checkpoint-every 10 --seed 1"
    floor = f"{flags} --min-std 0.2 --schedule constant --learning-rate 4e-4"
    small = f"{floor} --episodes 10 --minibatches 4 --iterations 457"
    large = f"{floor} --tasks 8 --minibatches 8 --iterations 120"
    settle = f"{flags} --tasks 8 --minibatches 8 --schedule constant --learning-rate 2e-4 --iterations 30"
    runs = (
        Training("cavia-seed1", "ant-dir", f"{flags} --iterations 450"),
        Training("small-seed1", "ant-dir", small, after="cavia-seed1"),
        Training("floor-seed1", "ant-dir", large, after="small-seed1"),
        Training("final-seed1", "ant-dir", settle, after="floor-seed1"),
    )
    figures = {"figure": ("final-seed1",), "floor": ("floor-seed1",)}
    films = {"film.gif": ("final-seed1", "--task 1 --height 112 --speed 3")}
    return Experiment(runs, figures, films=films, policies=("final-seed1",))


def _paper_dynamics() -> Experiment:
    """The paper's goal direction, learned with the settings of `cheetah-dir`: 10 million timesteps a seed.

    A timestep is a fifth as long, so that discount, lambda and standard deviation are larger.
    """
    flags = (
        "--dynamics paper --horizon 200 --discount 0.995 --gae-lambda 0.99 --initial-std 0.5 --head-scale 1 "
        f"{FREE_STD} --inner-step-size 0.1"
    )
    runs = seeded("maml", "cheetah-dir", f"{flags} --published-tasks --iterations 125 --checkpoint-every 10")
    return Experiment(runs, {"figure": _names(runs)}, policies=_names(runs[:1]))


def _trpo(preset: str) -> Experiment:
    """TRPO with the best settings that were found for it: 40 million timesteps a seed."""
    runs = seeded("trpo", preset, f"{TRPO_AT_ITS_BEST} --iterations 250 --checkpoint-every 10")
    return Experiment(runs, {"figure": _names(runs)})


# CAVIA under the paper's dynamics. A timestep of an ant is 0.02 s in place of 0.05 s, so that discounts and lambdas are
# larger than its presets have.
PAPER_ANT = (
    "--dynamics paper --horizon 200 --published-tasks --rule cavia --discount 0.995 --gae-lambda 0.98 "
    "--inner-discount 0.96 --inner-gae-lambda 0.96 --checkpoint-every 10 --seed 1"
)


def _ant_dir_paper_dynamics() -> Experiment:
    """The paper's ant and its directions, learned by CAVIA with a floor of the policy's std, in two parts.

    The second part has twice as many tasks in a meta-batch and a smaller learning rate.
    """
    flags = f"{PAPER_ANT} --min-std 0.2"
    large = f"{flags} --tasks 8 --minibatches 8 --schedule constant --learning-rate 4e-4 --iterations 250"
    runs = (
        Training("cavia-seed1", "ant-dir", f"{flags} --iterations 250"),
        Training("large-seed1", "ant-dir", large, after="cavia-seed1"),
    )
    return Experiment(runs, {"figure": ("large-seed1",)}, policies=("large-seed1",))


def _ant_vel_paper_dynamics() -> Experiment:
    """The paper's ant and its velocities, learned by CAVIA with a floor of the policy's std."""
    runs = (Training("cavia-seed1", "ant-vel", f"{PAPER_ANT} --min-std 0.2 --iterations 300"),)
    return Experiment(runs, {"figure": _names(runs)}, policies=_names(runs))


def _sinusoid() -> Experiment:
    """The paper's table (5 examples) and its figure 3 (10 and 20).

    The paper trains with 10 examples and step size 0.01 and tests with 5 too; its code has a step size of 0.001, which
    is stable over ten steps. The step sizes of protocols.csv were chosen on validation tasks, by step_sizes.csv.
    """
    five = (
        *seeded("maml-5shot", "sinusoid", "--shots 5 --inner-step-size 0.001"),
        Training("pretrained-5shot", "sinusoid", "--shots 5 --method pretrained --inner-step-size 0.01"),
        Training("meta-sgd-5shot", "sinusoid", "--shots 5 --inner-step-size 0.001 --rule meta-sgd"),
    )
    ten = (
        Training("maml-10shot", "sinusoid"),
        Training("first-order-10shot", "sinusoid", "--first-order"),
        *(Training(f"{method}-10shot", "sinusoid", f"--method {method}") for method in METHODS[1:]),
    )
    twenty = (Training("maml-20shot", "sinusoid", "--shots 20"),)
    candidates = (
        "0.01",
        "0.01 0.005",
        "0.01 0.003",
        "0.01 0.002",
        "0.01 0.001",
        "0.01 0.005 0.002",
        "0.01 0.005 0.001",
        "0.02 0.005 0.002",
    )
    tested = {"": "", ", chosen": " --step-sizes 0.01 0.005"}
    protocols = (
        *(
            Protocol(f"10 examples in training, 5 at test{words}", ("maml-10shot",), f"--shots 5{flags}")
            for words, flags in tested.items()
        ),
        *(
            Protocol(sizes, ("maml-10shot",), f"--shots 5 --step-sizes {sizes} --validation --tasks 600", "step_sizes")
            for sizes in candidates
        ),
    )
    figures = {"5shot": _names(five), "10shot": _names(ten), "20shot": _names(twenty)}
    policies = (*_names(five[:3]), "meta-sgd-5shot", "maml-10shot", "first-order-10shot", "maml-20shot")
    return Experiment((*five, *ten, *twenty), figures, protocols, policies=policies)


def _omniglot() -> Experiment:
    """Omniglot with as many of the paper's 60,000 iterations as a few hours of one core allow.

    The results keep one policy: each has 0.4 MB or more.
    """
    runs = (
        Training("5way-1shot", "omniglot-5way-1shot", "--iterations 10500"),
        Training("5way-5shot", "omniglot-5way-5shot", "--iterations 1100"),
        Training(
            "dense-5way-1shot",
            "omniglot-5way-1shot",
            "--network dense --hidden-sizes 256 128 64 64 --iterations 11000",
        ),
    )
    return Experiment(runs, {training.name: (training.name,) for training in runs}, policies=("5way-1shot",))


PAPER: dict[str, Experiment] = {
    "navigation-paper": _navigation(),
    # 8 million timesteps a seed: ten minutes of one core.
    "cheetah-dir": _robot("cheetah-dir", 200),
    "cheetah-dir-free-std": _free_std(),
    "cheetah-vel": _robot("cheetah-vel", 200),
    "cheetah-dir-cavia": _cavia("cheetah-dir", 200, policies=0),
    "cheetah-vel-cavia": _cavia("cheetah-vel", 200),
    "cheetah-dir-cavia-long": _cavia_long(),
    "cheetah-dir-long": _long("cheetah-dir"),
    "cheetah-vel-long": _long("cheetah-vel"),
    "cheetah-dir-trpo": _trpo("cheetah-dir"),
    "cheetah-dir-paper-dynamics": _paper_dynamics(),
    "cheetah-vel-paper": _cheetah("cheetah-vel-paper", (1,)),
    "cheetah-dir-paper": _cheetah("cheetah-dir-paper", (1, 2)),
    # 7 million timesteps: half an hour of one core.
    "ant-dir": _robot("ant-dir", 450, seeds=(1,), policies=0),
    "ant-vel": _robot("ant-vel", 300, seeds=(1,)),
    "ant-dir-cavia": _ant_dir_cavia(),
    "ant-vel-cavia": _cavia("ant-vel", 300, seeds=(1,)),
    "ant-goal-cavia": _cavia("ant-goal", 300, seeds=(1,)),
    "ant-dir-paper-dynamics": _ant_dir_paper_dynamics(),
    "ant-vel-paper-dynamics": _ant_vel_paper_dynamics(),
    "sinusoid": _sinusoid(),
    "omniglot": _omniglot(),
}
