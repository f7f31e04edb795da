"""Options of the command line (`--config KEY=VALUE`) with the types that they have in a file.

Snakemake reads numbers and truth values at the top, and leaves everything inside a mapping or list as text.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from atlas.config.problems import raise_all, size_problems


def typed(arguments: Iterable[str] | None) -> dict[str, Any]:
    """{key: value} of those of `arguments` (KEY=VALUE) whose value is a mapping or a list, read as YAML.

    Keys stay text. What is no YAML is left out: it stays the text that Snakemake took it for, for the schema to refuse.
    Raises AtlasError for aliases that stand for too much, or for themselves.
    """
    found = {}
    for argument in arguments or ():
        key, _, text = argument.partition("=")
        try:
            loader = yaml.SafeLoader(text)
            node = loader.get_single_node()
            if isinstance(node, yaml.CollectionNode):
                raise_all(size_problems({key: yaml.safe_load(text)}))
                found[key] = _value(loader, node)
        except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: days and numbers that there are none of
            continue
    return found


def _value(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): _value(loader, value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_value(loader, item) for item in node.value]
    return loader.construct_object(node)
