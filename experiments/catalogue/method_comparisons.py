"""The comparisons of methods, one a problem; each method has the settings of its own paper."""

from metarl.experiments.catalogue.comparison import Comparison, Method
from metarl.experiments.catalogue.experiment import SEEDS, Experiment, Training

# What Rothfuss et al. (2019) train with; ratios keep the inner gradient right while theta moves through the epochs.
EPOCHS = "--inner-loss likelihood_ratio --learning-rate 0.001 --epochs 5 --clip 0.3"
# What they leave out of what the half-cheetah's presets have.
WHOLE_EPOCHS = f"{EPOCHS} --minibatches 1 --target-kl None --schedule constant --min-std 1e-6"
POINT = "--tasks 10 --episodes 10 --iterations 30 --checkpoint-every 30"
CORNER = "--environment metarl/SparseCorner-v0 --tasks 10 --episodes 10 --iterations 100 --checkpoint-every 50"
HALF_CHEETAH = "--tasks 10 --episodes 20 --iterations 50 --checkpoint-every 10"


def reinforced(context: str, plain: str = "", epochs: str = EPOCHS) -> tuple[Method, ...]:
    """The methods of reinforcement learning.

    Args:
        context: the flags of CAVIA, which depend on the environment.
        plain: the flags of all methods that are not an outer optimiser of their own, where the preset's is not TRPO.
        epochs: the flags of ProMP and MAML-PPO, which depend on the preset.
    """
    return (
        Method("maml-trpo", "MAML-TRPO", plain, "Finn et al. 2017"),
        Method("first-order", "first order", f"{plain} --first-order", "Finn et al. 2017, section 5.2"),
        Method("promp", "ProMP", f"--outer promp {epochs} --kl-penalty 0.0005", "Rothfuss et al. 2019, appendix"),
        Method("maml-ppo", "MAML-PPO", f"--outer ppo {epochs}", "as ProMP, without its penalty"),
        Method("e-maml", "E-MAML", f"{plain} --outer-loss e_maml", "Stadie et al. 2018"),
        Method("dice", "DiCE", f"{plain} --inner-loss dice", "Foerster et al. 2018"),
        Method("anil", "ANIL", f"{plain} --rule anil", "Raghu et al. 2020"),
        Method("cavia", "CAVIA", f"{plain} --rule cavia {context}", "Zintgraf et al. 2019; step size of their code"),
        Method("meta-sgd", "Meta-SGD", f"{plain} --rule meta-sgd", "Li et al. 2017"),
    )


PRESET = Method("preset", "MAML-PPO, many small steps", "", "the preset: 10 epochs of 5 minibatches")
ONE_CREDIT = "--inner-discount None --inner-gae-lambda None"  # as in its paper, whatever the preset has with CAVIA
SMALL_CONTEXT = reinforced("--context-size 5 --inner-step-size 0.5")
LARGE_CONTEXT = (
    *reinforced(
        f"--context-size 50 --inner-step-size 10 {ONE_CREDIT}",
        "--outer trpo --max-kl 0.05 --min-std 1e-6",
        WHOLE_EPOCHS,
    ),
    PRESET,
)


def supervised(iterations: int) -> tuple[Method, ...]:
    """The methods of supervised learning; MAML++ has its losses' weights and its schedule for so many iterations."""
    five_steps = "--inner-steps 5 --evaluation-steps 5"
    # As the authors' code: the earlier steps count for 15 of 100 epochs.
    annealing = f"--annealing-iterations {iterations * 15 // 100} --schedule cosine --schedule-steps {iterations}"
    return (
        Method("maml", "MAML", "", "Finn et al. 2017"),
        Method("anil", "ANIL", "--rule anil", "Raghu et al. 2020"),
        Method("meta-sgd", "Meta-SGD", "--rule meta-sgd", "Li et al. 2017"),
        Method("maml-5", "MAML, 5 steps", five_steps, "as MAML++, without its changes"),
        Method(
            "maml-plus-plus",
            "MAML++, 5 steps",
            f"{five_steps} --rule lslr --learned-steps 5 --outer-loss multi_step {annealing}",
            "Antoniou et al. 2019",
        ),
    )


def _experiment(preset: str, shared: str, methods: tuple[Method, ...]) -> Experiment:
    """All methods with the first seed, then with the next, so that what is finished can be compared."""
    comparison = Comparison(preset, shared, methods, SEEDS)
    runs = (
        Training(comparison.run(method, seed), preset, comparison.flags(method, seed))
        for seed in SEEDS
        for method in methods
    )
    return Experiment(tuple(runs), comparison=comparison)


METHODS: dict[str, Experiment] = {
    "methods-navigation": _experiment("navigation", POINT, SMALL_CONTEXT),
    "methods-sparse-corner": _experiment("navigation", CORNER, SMALL_CONTEXT),
    "methods-cheetah-dir": _experiment("cheetah-dir", HALF_CHEETAH, LARGE_CONTEXT),
    "methods-cheetah-vel": _experiment("cheetah-vel", HALF_CHEETAH, LARGE_CONTEXT),
    "methods-sinusoid": _experiment(
        "sinusoid",
        "--iterations 3000 --evaluate-every 150 --log-every 20 --render-every 0 --checkpoint-every 3000",
        supervised(3000),
    ),
    "methods-omniglot": _experiment(
        "omniglot-5way-1shot",
        "--tasks 8 --iterations 600 --evaluate-every 100 --render-every 0 --checkpoint-every 600",
        supervised(600),
    ),
}
