"""The command `metarl`, which runs train, evaluate, plot and the other scripts in any folder."""

import difflib
import importlib
import importlib.metadata
import sys

from metarl.experiments.presets.options import require_preset
from metarl.extras import MissingExtraError

COMMANDS = {
    "demo": "adapt a shipped policy to a task of yours, without training",
    "train": "meta-train by a preset, on an environment or data of your own, too",
    "evaluate": "score a run on held-out tasks",
    "plot": "draw runs and compare them",
    "render": "film a run's adaptation",
    "reproduce": "make the results of the paper and of the documentation again",
    "benchmark": "measure speed and accuracy",
}


def usage() -> str:
    """The help of the command `metarl`: one line for each script."""
    rows = "\n".join(f"  {name:10} {words}" for name, words in COMMANDS.items())
    return (
        "usage: metarl COMMAND ...\n\nMeta-train policies and networks with MAML, and adapt them to new tasks.\n\n"
        f"commands (each has --help):\n{rows}\n\n  --version  print the version\n\n"
        "begin with: metarl demo cheetah --task -1, or metarl train navigation"
    )


def main() -> None:
    """Run the script that the first argument names. Ends with status 2 if there is none of that name."""
    name, *rest = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(usage())
    elif name == "--version":
        print(importlib.metadata.version("metarl"))
    elif name in COMMANDS:
        try:
            if name == "train" and rest and not rest[0].startswith("-"):
                require_preset(rest[0])  # before torch is loaded
            module = importlib.import_module(f"metarl.experiments.{name}")
        except (ValueError, MissingExtraError) as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        except KeyboardInterrupt:  # the imports take seconds
            print("interrupted: nothing was begun", file=sys.stderr)
            sys.exit(130)
        module.command(rest)
    else:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        words = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(COMMANDS)}"
        print(f"error: there is no command {name!r}: {words}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
