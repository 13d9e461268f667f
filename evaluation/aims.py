"""The aims of this project, as data: what a figure of a platform should reach, beside no result."""

from functools import cache
from importlib import resources
from typing import Any

import yaml

# figures of which more is better; of all others less is
AT_LEAST = ("nasbench_spearman",)
# figures that should be near their aim, and by how much they may miss it on either side
NEAR = {"coverage_90": 4.0}


@cache
def _file() -> dict[str, Any]:
    text = resources.files("evaluation").joinpath("aims.yaml").read_text("utf-8")
    return yaml.safe_load(text)


def aims_of(platform: str) -> dict[str, float]:
    """Aim by figure; a platform without aims has none."""
    return {name: float(aim) for name, aim in _file()["platforms"].get(platform, {}).items()}


def fitting_aim() -> dict[str, int]:
    """What fitting one platform may cost: rows per layer type, cores, wall_s, memory_bytes."""
    return dict(_file()["fitting"])


def aims_source() -> str:
    """Where the aims come from, in a few words."""
    return str(_file()["source"])


def reaches(figure: str, value: float, aim: float) -> bool:
    """Whether a value is at least as good as the aim; False for NaN."""
    if figure in NEAR:
        return abs(value - aim) <= NEAR[figure]
    return value >= aim if figure in AT_LEAST else value <= aim
