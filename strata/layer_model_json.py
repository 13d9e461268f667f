"""Layer models as JSON-ready dicts whose forests are stored beside them, and back."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any

from strata.blocking import Blocking, FixedTile, PoolBlocking
from strata.errors import ArtefactError, StrataError, legal
from strata.forest import Forest
from strata.layer_models import (
    KINDS,
    LayerModel,
    Mixed,
    MixedAnnette,
    Overlap,
    Refined,
    Roofline,
    Statistical,
    Unrolling,
)


def layer_model_to_dict(model: LayerModel, store: Callable[[Forest], str]) -> dict[str, Any]:
    """A JSON-ready dict; `store` takes each forest and returns the name to refer to it by."""
    match model:
        case Roofline():
            return {"kind": model.kind, **asdict(model)}
        case Refined():
            return {
                "kind": model.kind,
                "roofline": asdict(model.roofline),
                "unrolling": [asdict(each) for each in model.unrolling],
            }
        case Statistical():
            below: dict[str, Any] = {"roofline": asdict(model.roofline)}
        case Mixed():
            refined = layer_model_to_dict(model.base.refined, store)
            scales = {
                each.name: getattr(model.base, each.name)
                for each in fields(Overlap)
                if each.name not in ("refined", "blocking", "blocking_s")
            }
            if model.base.blocking:
                blocks = asdict(model.base.blocking)
                scales |= {"blocking": blocks, "blocking_s": model.base.blocking_s}
            below = {"base": {"refined": refined, **scales}, "ceiling": asdict(model.ceiling)}
        case MixedAnnette():
            below = {"refined": layer_model_to_dict(model.refined, store)}
    names = list(model.feature_names)
    return {"kind": model.kind, **below, "forest": store(model.forest), "feature_names": names}


def layer_model_from_dict(data: object, forests: Mapping[str, Forest], where: str) -> LayerModel:
    """The model written by `layer_model_to_dict`; ArtefactError names `where` and what is wrong."""
    try:
        return _from_dict(data, forests)
    except KeyError as error:
        raise ArtefactError(f"{where}: lacks or refers to unknown {error}") from None
    except (StrataError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ArtefactError(f"{where}: {error}") from None


def _from_dict(data: Any, forests: Mapping[str, Forest]) -> LayerModel:
    if not isinstance(data, dict) or data.get("kind") not in KINDS:
        kind = data.get("kind") if isinstance(data, dict) else data
        raise ArtefactError(f"unknown kind of layer model {kind!r}, legal: {legal(KINDS)}")
    match data["kind"]:
        case "roofline":
            return _roofline({name: data[name] for name in data if name != "kind"})
        case "refined":
            unrolling = tuple(Unrolling(**each) for each in data["unrolling"])
            return Refined(_roofline(data["roofline"]), unrolling)
    forest, names = forests[data["forest"]], tuple(data["feature_names"])
    if data["kind"] == "statistical":
        return Statistical(_roofline(data["roofline"]), forest, names)
    if data["kind"] == MixedAnnette.kind:
        return MixedAnnette(_refined(data["refined"], forests), forest, names)
    given = data["base"]
    refined, tile_s = _refined(given["refined"], forests), tuple(given["tile_s"])
    base = Overlap(**{**given, "refined": refined, "tile_s": tile_s, **_blocks(given)})
    return Mixed(base, _roofline(data["ceiling"]), forest, names)


def _blocks(given: Mapping[str, Any]) -> dict[str, Any]:
    """How layers are cut for an engine of blocks, where the base is one."""
    if "blocking" not in given:
        return {}
    sizes = given["blocking"]
    fixed = tuple(FixedTile(**each) for each in sizes.get("fixed", ()))
    pooling = None
    if sizes.get("pooling") is not None:
        limits = dict(sizes["pooling"])
        limits["refused"] = tuple(tuple(pair) for pair in limits["refused"])
        limits["split_filters"] = tuple(limits["split_filters"])
        pooling = PoolBlocking(**limits)
    made = {"pass_cycles": tuple(sizes["pass_cycles"]), "fixed": fixed, "pooling": pooling}
    blocking = Blocking(**{**sizes, **made})
    return {"blocking": blocking, "blocking_s": tuple(given["blocking_s"])}


def _refined(data: Any, forests: Mapping[str, Forest]) -> Refined:
    refined = _from_dict(data, forests)
    if not isinstance(refined, Refined):
        raise ArtefactError(f"a mixed model stands on a {refined.kind} model, must be refined")
    return refined


def _roofline(data: Any) -> Roofline:
    return Roofline(**data)
