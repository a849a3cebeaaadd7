"""Read a YAML file that a stranger may have written: bounded in size, depth and repetition before anything is built."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from rerank_plugin.errors import PipelineConfigError

MOST_BYTES = 1_000_000
# Keys and values, where every alias counts as much as what it stands for.
MOST_NODES = 50_000
MOST_DEPTH = 50

# libyaml's parser where PyYAML was built with it: some ten times faster.
Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path) -> Any:
    """
    Read a YAML file.

    :param path: The file.
    :returns: Plain values. What aliases stand for is copied: nothing is in two places.
    :raises PipelineConfigError: If it cannot be read, is no YAML, or goes beyond the limits. The message says where.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise PipelineConfigError(f"{path} has more than {MOST_BYTES:,} bytes: it is no pipeline")
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
        raise PipelineConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    except UnicodeDecodeError as error:
        raise PipelineConfigError(f"{path} is not valid YAML: byte {error.start} is no UTF-8") from error
    except OSError as error:
        raise PipelineConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        # PyYAML's own constructors: a date such as 2000-99-99, a list as a key of a mapping.
        raise PipelineConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error


def _check_limits(text: str, path: Path) -> None:
    """
    Follow the parser's events, which come without recursion and before any value exists.

    :raises PipelineConfigError: If the file is nested too deeply, expands to too much, or contains itself.
    """
    sizes: dict[str, int] = {}  # of the anchors that are complete
    # For each open collection its anchor, and how many nodes had been seen when it began.
    open_collections: list[tuple[str | None, int]] = []
    nodes = 0
    for event in _events(text):
        place = f"{path}, line {event.start_mark.line + 1}"
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_collections.pop()
            sizes[anchor or ""] = nodes - before
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_collections):
                raise PipelineConfigError(f"{place}: *{event.anchor} contains itself: write out what is meant")
            nodes += sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.NodeEvent):
            nodes += 1
            sizes[event.anchor or ""] = 1
            if isinstance(event, yaml.CollectionStartEvent):
                open_collections.append((event.anchor, nodes - 1))
        if len(open_collections) > MOST_DEPTH:
            raise PipelineConfigError(f"{place}: nested more than {MOST_DEPTH} levels deep: it is no pipeline")
        if nodes > MOST_NODES:
            raise PipelineConfigError(f"{place}: more than {MOST_NODES:,} values, aliases expanded: it is no pipeline")


def _events(text: str) -> Iterator[Any]:
    events: Iterator[Any] = yaml.parse(text, Loader=Loader)
    return events


def _copied(value: Any) -> Any:
    """Copy containers: two components that share an anchor must not share a dictionary."""
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_copied(inner) for inner in value]
    return value
