"""The errors Strata raises on purpose: each message says what, where and what would be legal.

The command line turns every one of them into a single line and exit code 2.
"""


class StrataError(Exception):
    """Base of every error that is the input's fault, not the program's."""


class SchemaError(StrataError):
    """A graph, settings row or configuration that breaks its own rules."""


class UnsupportedLayer(StrataError):
    """A layer that a hardware module, importer or model cannot handle."""


class MatchError(StrataError):
    """A profile that cannot be matched with the graph it claims to come from."""


class FitError(StrataError):
    """Tables from which no model can be fitted."""


class ArtefactError(StrataError):
    """A file (network, platform model, shard) that is missing, corrupt or of another version."""


def legal(values: object) -> str:
    """Render legal values for a message: sorted, comma separated."""
    return ", ".join(sorted(str(value) for value in values))  # type: ignore[attr-defined]
