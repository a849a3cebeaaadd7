"""Reading untrusted YAML files: size, depth and alias expansion are limited before any value is constructed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from rerank_plugin.errors import PipelineConfigError, reason_of

MAX_BYTES = 1_000_000
# Keys and values, with aliases expanded.
MAX_NODES = 50_000
MAX_DEPTH = 50

# libyaml's parser if PyYAML was built with it: about ten times faster.
Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path) -> Any:
    """
    Read a YAML file.

    :param path: The file.
    :returns: Plain values. Aliased values are copied, so that no object occurs twice.
    :raises PipelineConfigError: If it cannot be read, is not YAML, or exceeds a limit. The message names the place.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise PipelineConfigError(f"{path} has more than {MAX_BYTES:,} bytes: it is not a pipeline")
        text = path.read_text(encoding="utf-8")
        _check_limits(text, path)
        return _copied(yaml.load(text, Loader=Loader))  # noqa: S506 - a safe loader, the C or the Python one
    except PipelineConfigError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise PipelineConfigError(f"{path}{place}: not valid YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise PipelineConfigError(f"{path} is not valid YAML: {reason_of(error)}") from error
    except UnicodeDecodeError as error:
        raise PipelineConfigError(f"{path} is not valid YAML: byte {error.start} is not UTF-8") from error
    except OSError as error:
        raise PipelineConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        # Raised by PyYAML's constructors: a date such as 2000-99-99, a list as a key of a mapping.
        raise PipelineConfigError(f"{path} is not valid YAML: {reason_of(error)}") from error


def init_parameters(node: Any, type_name: str) -> Iterator[dict[str, Any]]:
    """
    Yield the init parameters of every object of a type, at any depth, adding them where they are missing.

    :param node: The content of a pipeline YAML, or a part of it.
    :param type_name: The full name of the class, or its end.
    """
    if isinstance(node, dict):
        if str(node.get("type", "")).endswith(type_name):
            if not isinstance(node.get("init_parameters"), dict):
                node["init_parameters"] = {}
            yield node["init_parameters"]
        for value in node.values():
            yield from init_parameters(value, type_name)
    elif isinstance(node, list):
        for value in node:
            yield from init_parameters(value, type_name)


def has_type(node: Any, type_name: str) -> bool:
    """
    Return whether an object of a type occurs, at any depth.

    :param node: The content of a pipeline YAML, or a part of it; left unchanged.
    :param type_name: The full name of the class, or its end.
    """
    if isinstance(node, dict):
        return str(node.get("type", "")).endswith(type_name) or any(has_type(value, type_name) for value in node.values())
    return isinstance(node, list) and any(has_type(value, type_name) for value in node)


def _check_limits(text: str, path: Path) -> None:
    """
    Check the limits on the parser's events, which are produced without recursion and before any value is constructed.

    :raises PipelineConfigError: If the file is nested too deeply, has too many nodes, or contains itself.
    """
    sizes: dict[str, int] = {}  # anchor -> number of nodes, for complete anchors
    # For each open collection its anchor, and the number of nodes before it.
    open_collections: list[tuple[str | None, int]] = []
    nodes = 0
    for event in _events(text):
        place = f"{path}, line {event.start_mark.line + 1}"
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_collections.pop()
            sizes[anchor or ""] = nodes - before
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_collections):
                raise PipelineConfigError(f"{place}: *{event.anchor} contains itself: write the value out")
            nodes += sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.NodeEvent):
            nodes += 1
            sizes[event.anchor or ""] = 1
            if isinstance(event, yaml.CollectionStartEvent):
                open_collections.append((event.anchor, nodes - 1))
        if len(open_collections) > MAX_DEPTH:
            raise PipelineConfigError(f"{place}: nested more than {MAX_DEPTH} levels deep: it is not a pipeline")
        if nodes > MAX_NODES:
            raise PipelineConfigError(f"{place}: more than {MAX_NODES:,} values, aliases expanded: it is not a pipeline")


def _events(text: str) -> Iterator[Any]:
    events: Iterator[Any] = yaml.parse(text, Loader=Loader)
    return events


def _copied(value: Any) -> Any:
    """Return a deep copy of containers: two components that use the same anchor must not share a dictionary."""
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_copied(inner) for inner in value]
    return value
