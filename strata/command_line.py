"""The command `strata`: estimate networks, list platforms, show and convert network files.

Other packages add commands through the entry point group "strata.commands": NAME names a function
of the form that typer's `app.command` takes. It is imported when it is asked for by its name.
"""

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from strata.console import fail, message
from strata.errors import SchemaError, StrataError

if TYPE_CHECKING:
    from strata.estimate import Estimate

COMMANDS_GROUP = "strata.commands"

INTERRUPTED = 130


class _Commands(TyperGroup):
    """Built-in commands, those of other packages by name, and one way to report errors."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A built-in command, else the one another package registered under the name."""
        return super().get_command(ctx, cmd_name) or _registered(cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Built-in commands, and the others by name only: importing them can be slow."""
        super().format_commands(ctx, formatter)
        names = sorted({entry.name for entry in entry_points(group=COMMANDS_GROUP)})
        if names:
            with formatter.section("Further commands"):
                formatter.write_dl([(name, f"see: strata {name} --help") for name in names])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run and exit; an error of the input is one line on standard error and exit code 2."""

        def run() -> Any:
            name = prog_name or "strata"
            return super(_Commands, self).main(
                args, name, complete_var, False, windows_expand_args, **extra
            )

        sys.exit(_exit_code(run))


def _exit_code(run: Callable[[], Any]) -> int:
    try:
        code = run()
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # the reader left: without this, Python complains again when it flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (StrataError, OSError) as error:
        return fail(message(error))
    except Exception as error:
        # typer's own errors of usage, whose class has no public name
        if not hasattr(error, "format_message"):
            raise
        return fail(error.format_message())
    return code if isinstance(code, int) else 0


def _registered(name: str) -> Any:
    """The command of an entry point; None if there is none of the name."""
    for entry in entry_points(group=COMMANDS_GROUP, name=name):
        try:
            function = entry.load()
        except (ImportError, AttributeError) as error:
            raise StrataError(
                f"command '{name}' cannot be loaded from {entry.value}: {error}"
            ) from None
        single = typer.Typer(rich_markup_mode=None, add_completion=False)
        single.command(name=name)(function)
        return typer.main.get_command(single)
    return None


app = typer.Typer(
    cls=_Commands,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print("strata", version("strata"))
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """How long a neural network takes on an accelerator, before anyone compiles it.

    \b
    Example:
      strata estimate resnet50.onnx --platform openvino_cpu
    """
    if context.invoked_subcommand is None:
        print(context.get_help())


Network = Annotated[
    Path,
    typer.Argument(
        metavar="NETWORK",
        help="ONNX, TFLite, OpenVINO IR (.xml), Keras, SavedModel folder or Strata JSON.",
        show_default=False,
    ),
]
InputShape = Annotated[
    str | None,
    typer.Option(
        metavar="N,C,H,W",
        help="Shape of the input, for networks that leave it open; in the file's own axis order.",
    ),
]


def parse_input_shape(text: str | None) -> tuple[int, ...] | None:
    """Axis lengths from "1,3,224,224"; SchemaError if one is no positive integer."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise SchemaError(
            f"--input-shape is '{text}'; legal: positive integers separated by commas, "
            "such as 1,3,224,224"
        )
    return tuple(map(int, parts))


@app.command()
def estimate(
    network: Network,
    platform: Annotated[
        str, typer.Option(help="Name, NAME@RUN or .strata file; see `strata platforms`.")
    ],
    model: Annotated[
        str, typer.Option(help="Kind of layer model: mixed, statistical, refined or roofline.")
    ] = "mixed",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print everything as JSON, in SI units.")
    ] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print one CSV row per executed layer, in SI units.")
    ] = False,
    input_shape: InputShape = None,
    output: Annotated[
        Path | None, typer.Option(help="Write to this file instead of printing.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Also draw the layers' times (.png or .svg).")
    ] = None,
) -> None:
    """Estimate the latency of a network on a platform, layer by layer.

    \b
    Example:
      strata estimate resnet50.onnx --platform openvino_cpu --json --output resnet50.json
    """
    from strata.estimate import check_kind
    from strata.estimate import estimate as estimate_network
    from strata.importer import load_network
    from strata.platforms import load_platform
    from strata.plot import check_plot_path, save_plot

    check_kind(model)
    if as_json and as_csv:
        raise SchemaError("--json and --csv exclude each other; give one of them")
    if plot is not None:
        check_plot_path(plot)
    shape = parse_input_shape(input_shape)
    platform_model = load_platform(platform)
    found = estimate_network(load_network(network, shape), platform_model, model)
    _deliver(_rendered(found, as_json, as_csv, output), output)
    if plot is not None:
        save_plot(found, plot)


def _rendered(found: "Estimate", as_json: bool, as_csv: bool, output: Path | None) -> str:
    from strata import report

    if as_json:
        return report.json_text(found)
    if as_csv:
        return report.csv_text(found)
    return report.table_text(found, None if output is not None else _terminal_width())


def _terminal_width() -> int | None:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _deliver(text: str, output: Path | None) -> None:
    """Print, or write the file whole or not at all."""
    if output is None:
        sys.stdout.write(text)
        return
    from strata.atomic import replacing

    with replacing(output) as temporary:
        temporary.write_text(text, encoding="utf-8")


@app.command()
def platforms() -> None:
    """List the platforms that estimates can be made for.

    \b
    Example:
      strata platforms
    """
    from strata.platforms import HOW_TO_MAKE, find_platforms
    from strata.report import platforms_text

    bundles = find_platforms()
    if not bundles:
        print(f"no platform model is found; {HOW_TO_MAKE}")
        return
    sys.stdout.write(platforms_text(bundles, _terminal_width()))


@app.command()
def show(network: Network, input_shape: InputShape = None) -> None:
    """Show a network's layers: shapes, multiply-accumulates, bytes, and what is not mapped.

    \b
    Example:
      strata show mobilenet.tflite
    """
    from strata.importer import load_network
    from strata.report import network_text

    shape = parse_input_shape(input_shape)
    sys.stdout.write(network_text(load_network(network, shape), _terminal_width()))


@app.command()
def convert(
    network: Network,
    out: Annotated[
        Path, typer.Argument(metavar="OUT.json", help="Strata JSON to write.", show_default=False)
    ],
    input_shape: InputShape = None,
) -> None:
    """Convert a network to Strata's own JSON.

    \b
    Example:
      strata convert resnet50.onnx resnet50.json
    """
    from strata.graph_json import save_graph
    from strata.importer import load_network

    if out.suffix != ".json":
        raise SchemaError(f"cannot convert to '{out}'; legal suffix: .json")
    graph = load_network(network, parse_input_shape(input_shape))
    save_graph(graph, out)
    unmapped = len(graph.opaque)
    print(f"{out}: {len(graph.layers)} layers" + f", {unmapped} not mapped" * bool(unmapped))


def main() -> None:
    """Entry point of the command `strata`."""
    app()
