"""`strata recalibrate`: a platform model moved to the user's own set-up by a few measurements."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress, track
from rich.table import Table

from model_gen.measured_networks import MeasuredFile, read_measured
from model_gen.network_parts import NetworkParts, split_estimate
from model_gen.recalibrate import (
    FEWEST,
    Recalibration,
    candidates_for,
    interval_factor,
    recalibrate,
)
from strata.adjustment import MeasuredNetwork
from strata.errors import FitError, SchemaError, StrataError
from strata.importer import load_network
from strata.platform_model import PlatformModel, load_platform_model, save_platform_model
from strata.platforms import SUFFIX, locate

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_UNLIKELY = 50.0  # no other set-up of one device is so many times faster or slower


def command(
    platform: Annotated[str, typer.Argument(help="Name, NAME@RUN or .strata file to start from.")],
    measured: Annotated[
        Path,
        typer.Option(
            help="CSV with the columns network (a file) and time_s or time_ms, or lines of "
            "`strata measure --json` (.jsonl)."
        ),
    ],
    output: Annotated[Path, typer.Option(help="Platform model to write (.strata).")],
    name: Annotated[
        str | None, typer.Option(help="Name of the new platform; default: that of the file.")
    ] = None,
) -> None:
    """Adjust a platform model to your own set-up by 5 to 20 measured networks.

    For another clock, runtime, driver or number of threads of the same device. Factors of the
    parts of a network's time are fitted; which, leaving out one network at a time decides.

    Example: strata recalibrate openvino_cpu --measured times.csv --output two_threads.strata
    """
    new_name = _checked_name(name or output.stem, output)
    path = locate(platform)
    if output.exists() and output.resolve() == path.resolve():
        raise SchemaError(f"--output is '{output}', the model to start from; legal: another file")
    model = _original(path)
    files = read_measured(measured)
    if len(files) < FEWEST:
        raise FitError(
            f"{measured}: {len(files)} networks; legal: {FEWEST} or more, better 5 to 20"
        )
    console = Console(stderr=True)
    quiet = not console.is_terminal
    bar = track(files, "networks", console=console, transient=True, disable=quiet)
    parts = [_parts(file, model) for file in bar]
    with Progress(console=console, transient=True, disable=quiet) as progress:
        task = progress.add_task("leaving networks out", total=len(candidates_for(len(files))))
        tick = partial(progress.advance, task)
        found = recalibrate(parts, [file.time_s for file in files], tick)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    moved = recalibrated(model, found, parts, files, digest, new_name)
    save_platform_model(moved, output)
    _show(found, parts, files, moved, output)


def _checked_name(name: str, output: Path) -> str:
    if output.suffix != SUFFIX:
        raise SchemaError(f"--output is '{output}'; legal suffix: {SUFFIX}")
    if not _NAME.fullmatch(name):
        raise SchemaError(f"--name is '{name}'; legal: letters, digits, '_', '.' and '-'")
    return name


def _original(path: Path) -> PlatformModel:
    model = load_platform_model(path)
    if model.adjustment is not None:
        raise SchemaError(
            f"{path}: is itself recalibrated from {model.adjustment.original}; "
            "legal: the original platform model"
        )
    return model


def _parts(file: MeasuredFile, model: PlatformModel) -> NetworkParts:
    try:
        return split_estimate(load_network(file.path), model)
    except StrataError as error:
        raise type(error)(f"{file.where}: {error}") from None


def recalibrated(
    model: PlatformModel,
    found: Recalibration,
    parts: Sequence[NetworkParts],
    files: Sequence[MeasuredFile],
    sha256: str,
    name: str,
) -> PlatformModel:
    """The platform model in the new set-up; its header says what it was made from."""
    networks = tuple(
        MeasuredNetwork(network.name, file.time_s)
        for network, file in zip(parts, files, strict=True)
    )
    widening = interval_factor(found, parts)
    adjustment = found.adjustment(model.header.platform, sha256, networks, widening)
    note = (
        f"recalibrated from {adjustment.summary}: mean error {found.before_percent:.1f}% before, "
        f"{found.after_percent:.1f}% on networks left out; ranges and fit metrics are those of "
        f"{model.header.platform}, intervals too, widened {widening:.2f} times"
    )
    header = replace(
        model.header,
        platform=name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        code_version=version("strata"),
        recalibrated=adjustment.summary,
        notes=(*model.header.notes, note),
    )
    return replace(model, header=header, adjustment=adjustment)


def _show(
    found: Recalibration,
    parts: Sequence[NetworkParts],
    files: Sequence[MeasuredFile],
    moved: PlatformModel,
    output: Path,
) -> None:
    table = Table(title=f"{moved.header.platform}: networks left out one at a time")
    for column in ("network", "measured (ms)", "original (%)", "recalibrated (%)"):
        table.add_column(column, justify="left" if column == "network" else "right")
    rows = zip(parts, files, found.before - 1, found.after - 1, strict=True)
    for network, file, before, after in rows:
        times = (f"{file.time_s * 1e3:.3f}", f"{100 * before:+.1f}", f"{100 * after:+.1f}")
        table.add_row(network.name, *times)
    Console().print(table)
    typer.echo(
        f"mean error: {found.before_percent:.1f}% before, {found.after_percent:.1f}% after, each "
        "network by a recalibration that did not see it"
    )
    for line in _lines(found):
        typer.echo(line)
    typer.echo(f"platform model: {output}")
    ratio = float(np.exp(np.median(np.abs(np.log(found.before)))))
    if ratio > _UNLIKELY:
        typer.echo(
            f"warning: measured times and estimates differ by a factor of {ratio:.0f}: are the "
            "times in the unit that their column says?",
            err=True,
        )
    if not found.helps:
        typer.echo(
            "warning: no adjustment is better than the original on networks left out; "
            "the new model estimates as the original does",
            err=True,
        )


def _lines(found: Recalibration) -> list[str]:
    """The chosen form, its factors and constants, for people."""
    if not found.helps:
        return ["form: unchanged"]
    lines = [f"form: {found.candidate.form}", f"factor: {found.factor:.3f}"]
    lines += [f"  {part}: {scale:.3f}" for part, scale in found.scales.items()]
    if found.candidate.form.endswith("constants"):
        lines.append(f"added per network: {found.per_network_s * 1e3:.4f} ms")
        lines.append(f"added per layer: {found.per_layer_s * 1e6:.3f} us")
    return lines
