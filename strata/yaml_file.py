"""YAML files with a schema: what configurations, platforms and hardware descriptions share.

Faults are SchemaError, one line each: file, key, value, what is legal. Not imported by anything
that estimates, so that estimating stays light.
"""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from strata.errors import SchemaError, legal

Model = TypeVar("Model", bound=BaseModel)


class Section(BaseModel):
    """Part of a configuration: immutable, and it refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _UniqueKeys(yaml.SafeLoader):
    """A YAML loader that refuses the same key twice instead of keeping the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """A dict of the node; raises yaml.YAMLError at the second of two equal keys."""
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key '{key}' is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict:
    """The mapping in a YAML file; SchemaError naming file and line if it is none."""
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)
    except FileNotFoundError:
        raise SchemaError(f"{path}: no such file; give a YAML configuration") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SchemaError(f"{path}: cannot be read as text: {error}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise SchemaError(f"{path}: line {line}: not legal YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        first = str(error).splitlines()[0]
        raise SchemaError(f"{path}: not legal YAML: {first}") from None
    if not isinstance(data, dict):
        raise SchemaError(f"{path}: holds no mapping of keys to values")
    return data


def _section_at(model: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel]:
    """The section whose keys `path` names: walks annotations, skipping dict keys and indices."""
    for key in path:
        field = model.model_fields.get(str(key))
        if field is None:
            continue
        inner = [field.annotation, *getattr(field.annotation, "__args__", ())]
        for candidate in inner:
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                model = candidate
                break
    return model


def _line(path: Path, model: type[BaseModel], error: Any) -> str:
    where = ".".join(str(key) for key in error["loc"] if key != "[key]")
    match error["type"]:
        case "extra_forbidden":
            keys = legal(_section_at(model, error["loc"][:-1]).model_fields)
            return f"{path}: key '{where}' is unknown; legal: {keys}"
        case "missing":
            return f"{path}: key '{where}' is missing"
        case "value_error":
            rule = error["msg"].removeprefix("Value error, ")
            return f"{path}: key '{where}': {rule}"
    rule = error["msg"].removeprefix("Input ")
    return f"{path}: key '{where}' is {error['input']!r}: {rule}"


def validate(path: Path, model: type[Model], data: dict) -> Model:
    """The data as a pydantic model.

    SchemaError with one line per fault: file, path of the key, value, what is legal.
    """
    try:
        return model.model_validate(data)
    except ValidationError as invalid:
        lines = [_line(path, model, error) for error in invalid.errors()]
        raise SchemaError("\n".join(lines)) from None
