"""What files of earlier versions have otherwise, and what makes today's content of theirs."""

import re
from collections.abc import Iterable
from typing import Any

# Format 1 called a parameter weight0, bias0 and so on, or weight and bias where it belonged to the last layer of a
# network for images. `slow/` stood before what no inner step changed, `slow/step_size/` before Meta-SGD's step sizes.
NAME_1 = re.compile(r"(?:slow/)?(?P<step>step_size/)?(?P<kind>weight|bias|shift)(?P<layer>\d*)")


def dotted_names(names: Iterable[str]) -> dict[str, str]:
    """The name in format 1 of each parameter of a network -> its name now, in the same order.

    All names of the network are needed: where no layer is without a number, the highest number is the head.
    """
    found = {name: NAME_1.fullmatch(name) for name in names}
    layers = {match["layer"] for match in found.values() if match}
    head = "" if "" in layers else max(layers, key=int, default="")

    def now(name: str, match: re.Match[str] | None) -> str:
        if match is None:
            return name.replace("slow/step_size/", "step_size.")
        layer = "head" if match["layer"] == head else f"body.{match['layer']}"
        return f"{'step_size.' if match['step'] else ''}{layer}.{match['kind']}"

    return {name: now(name, match) for name, match in found.items()}


def format_2(content: dict[str, Any]) -> dict[str, Any]:
    """The content of a checkpoint of format 2, made of one of format 1: parameters under dotted names.

    The order stays, in which the state of Adam has them one after another.
    """
    names = dotted_names(content["theta"])
    return content | {"theta": {names[name]: leaf for name, leaf in content["theta"].items()}}
