"""Parameter sweeps: one setting grows while all others stay (ANNETTE, section 5.1.1)."""

from collections.abc import Iterator, Mapping

from benchmark.config import Sweep
from benchmark.plan import BenchmarkCase, make_case, unique
from graph_gen.benchmarks import BENCHMARKS
from graph_gen.description import check_settings

# The feature that a setting moves, where their names differ. Arrays unroll over outputs, so a
# sweep of the input's extent at stride 1 is one of the output's.
SWEPT_FEATURE = {
    "width": "output_width",
    "height": "output_height",
}


def swept_feature(setting: str) -> str:
    """The name in strata.execution.FEATURES that a sweep of the setting is about."""
    return SWEPT_FEATURE.get(setting, setting)


def _cases(benchmark: str, sweep: Sweep) -> Iterator[BenchmarkCase]:
    for parameter, span in sweep.parameters.items():
        for number, point in enumerate(sweep.points):
            group = f"{benchmark}/{parameter}/{number}"
            for value in span.values:
                settings = {**point, parameter: value}
                check_settings(f"sweep {group}", BENCHMARKS[benchmark].settings, settings)
                tags = {"sweep": swept_feature(parameter), "sweep_group": group}
                yield make_case(benchmark, settings, tags)


def plan_sweeps(sweeps: Mapping[str, Sweep]) -> list[BenchmarkCase]:
    """Every parameter of every benchmark swept at each of its points.

    Cases carry the tags `sweep` (feature) and `sweep_group`. Raises SchemaError for settings the
    benchmark does not know or that are out of its range.
    """
    return unique(case for name, sweep in sweeps.items() for case in _cases(name, sweep))
