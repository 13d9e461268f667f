"""Profiles to and from JSON-serialisable dictionaries: the raw record that shards keep."""

from dataclasses import asdict
from typing import Any

from strata.errors import ArtefactError, SchemaError
from strata.profile import ExecutedNode, Profile


def profile_to_dict(profile: Profile) -> dict[str, Any]:
    """Plain dictionaries, lists, numbers and text; times in seconds.

    Nodes without traffic and nodes with a time are written as before there were others.
    """
    data = asdict(profile)
    for node in data["nodes"]:
        if not node["traffic_bytes"]:
            del node["traffic_bytes"]
        if node["timed"]:
            del node["timed"]
    return data


def _node(data: dict[str, Any]) -> ExecutedNode:
    shape = data["output_shape"]
    return ExecutedNode(
        data["name"],
        data["kind"],
        tuple(data["layers"]),
        tuple(data["producers"]),
        None if shape is None else tuple(shape),
        float(data["time_s"]),
        tuple(data["readings_s"]),
        str(data.get("placement", "")),  # shards written before accelerators do not say
        dict(data.get("traffic_bytes", {})),  # only platforms that know it say
        bool(data.get("timed", True)),
    )


def profile_from_dict(data: dict[str, Any], where: str) -> Profile:
    """The inverse; ArtefactError names `where` and the field that is missing or malformed."""
    try:
        return Profile(
            data["platform"],
            tuple(map(_node, data["nodes"])),
            tuple(data["samples_s"]),
            float(data["time_s"]),
            dict(data["host"]),
            dict(data["toolchain"]),
            data["refusal"],
            int(data.get("bits", 32)),  # shards written before platforms of 8 bits do not say
        )
    except KeyError as error:
        raise ArtefactError(f"{where}: the profile has no field {error}") from None
    except SchemaError as error:
        raise ArtefactError(f"{where}: {error}") from None
    except (TypeError, ValueError) as error:
        raise ArtefactError(f"{where}: malformed profile: {error}") from None
