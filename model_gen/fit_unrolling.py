"""Command: fit the unrolling parameters s and alpha of every swept layer type (section 5.1.1)."""

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from model_gen.tables import read_table
from model_gen.unrolling import UnrollingFit, fit_unrolling, write_unrolling
from strata.console import exits_cleanly
from strata.errors import ArtefactError, FitError


def describe(operation: str, fit: UnrollingFit) -> str:
    """One line on one dimension."""
    if not fit.identified:
        return f"{operation} {fit.feature}: not identified ({fit.reason})"
    return (
        f"{operation} {fit.feature}: s = {fit.size}, alpha = {fit.alpha:.2f}, residual "
        f"{fit.residual:.1%} (next best s = {fit.next_best_size}: {fit.next_best_residual:.1%}, "
        f"none: {fit.no_unrolling_residual:.1%}, {fit.points} points)"
    )


def kernels_swept(table: pd.DataFrame, where: str) -> pd.DataFrame:
    """Rows of the kernels that sweeps measured; FitError for a table that cannot tell them."""
    for name in ("sweep", "sweep_group", "layer"):
        if name not in table.columns:
            raise FitError(f"{where}: lacks column {name}, without which no sweep can be told")
    kernels = table["layer"].fillna("").str.startswith("kernel")
    return table[kernels & (table["sweep"].fillna("") != "")]


@exits_cleanly
def command(
    tables: Annotated[Path, typer.Argument(help="Folder of sweep tables from make_tables.")],
    output: Annotated[Path, typer.Option(help="JSON file of the fitted unrolling.")],
) -> None:
    """Fit s and alpha from parameter sweeps.

    Example: python -m model_gen.fit_unrolling sweep_tables --output unrolling.json
    """
    if not (tables / "layers").is_dir():
        raise ArtefactError(f"{tables / 'layers'}: no such folder; make_tables writes it")
    fits: dict[str, list[UnrollingFit]] = {}
    for path in sorted((tables / "layers").glob("*.parquet")):
        swept = kernels_swept(read_table(path), str(path))
        if not swept.empty:
            fits[path.stem] = fit_unrolling(swept, sorted(set(swept["sweep"])))
    write_unrolling(fits, output)
    for operation, found in fits.items():
        for fit in found:
            typer.echo(describe(operation, fit))


if __name__ == "__main__":
    typer.run(command)
