"""Commands: write networks of the zoo, of NASBench-101's cell space, or unseen ones, as JSON."""

from pathlib import Path
from typing import Annotated

import typer

from graph_gen.nasbench import sample
from graph_gen.published_ncs2 import UNSEEN
from graph_gen.zoo import ZOO
from strata.console import exits_cleanly
from strata.errors import SchemaError, legal
from strata.graph_json import save_graph

commands = typer.Typer(no_args_is_help=True, help=__doc__)


@commands.command()
@exits_cleanly
def zoo(
    name: Annotated[str, typer.Argument(help="Network of ANNETTE's Table 2.")],
    output: Annotated[Path, typer.Argument(help="JSON file to write.")],
) -> None:
    """Write one network of the zoo.

    Example: python -m graph_gen.write_networks zoo resnet50 resnet50.json
    """
    if name not in ZOO:
        raise SchemaError(f"network '{name}' is not in the zoo; legal: {legal(ZOO)}")
    save_graph(ZOO[name].build(), output)


@commands.command()
@exits_cleanly
def nasbench(
    folder: Annotated[Path, typer.Argument(help="Folder for nasbench_SEED_INDEX.json.")],
    count: Annotated[int, typer.Option(min=0, help="Number of networks.")] = 34,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample.")] = 0,
) -> None:
    """Write sampled NASBench-101 cell networks.

    Example: python -m graph_gen.write_networks nasbench networks --count 34 --seed 0
    """
    for index, graph in enumerate(sample(count, seed=seed)):
        save_graph(graph, folder / f"nasbench_{seed}_{index}.json")


@commands.command()
@exits_cleanly
def unseen(
    folder: Annotated[Path, typer.Argument(help="Folder for NAME.json.")],
) -> None:
    """Write the ten further networks that mapping models are judged by.

    Example: python -m graph_gen.write_networks unseen networks/unseen
    """
    for name, build in UNSEEN.items():
        save_graph(build(), folder / f"{name}.json")


if __name__ == "__main__":
    commands()
