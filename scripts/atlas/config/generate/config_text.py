"""The text of config.yaml: its fixed parts (config_base.yaml), and every option with its value and why."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from atlas.config.generate.options import Block, Option, analysis_blocks, plot_blocks

WIDTH = 120


def config_text() -> str:
    """config.yaml, whole."""
    base = Path(__file__).with_name("config_base.yaml").read_text(encoding="utf-8")
    analyses = [line for block in analysis_blocks() for line in _block(block.name, block.why, block.options, {})]
    text = base.replace("  # <analyses>\n", "".join(f"{line}\n" for line in analyses))
    return text.replace("  # <figures>\n", "".join(f"{line}\n" for line in _figures()))


def _figures() -> Iterator[str]:
    """Every figure of the default run; a plot's second one is not explained again."""
    for block in plot_blocks():
        for number, (name, shown) in enumerate(block.figures.items()):
            yield from _figure(name, block, shown, again=number > 0)


def _figure(name: str, block: Block, shown: Mapping[str, Any], again: bool) -> Iterator[str]:
    options = [option for option in block.options if not option.unshown or option.name in shown]
    lines = list(_block(name, "" if again else block.why, options, shown))
    if again:
        lines = [line for line in lines if not line.lstrip().startswith("#")]
    if name != block.name:
        lines.insert(1, f"    plot: {block.name}")
    yield from lines


def _block(name: str, why: str, options: Any, shown: Mapping[str, Any]) -> Iterator[str]:
    yield from _comment(why, "  ")
    yield f"  {name}:"
    for option in options:
        yield from _comment(option.why, "    ")
        yield from _entry(option.name, shown.get(option.name, option.value), option, "    ")


def _entry(name: str, value: Any, option: Option | None, indent: str) -> Iterator[str]:
    """`name: value`, on one line where nothing inside needs explaining and it fits."""
    line = f"{indent}{name}: {flow(value)}"
    inner = {} if option is None else {one.name: one for one in option.inner}
    explained = any(one.why or one.inner for one in inner.values())
    if not explained and len(line) <= WIDTH:
        yield line
    elif isinstance(value, dict):
        yield f"{indent}{name}:"
        for key, held in value.items():
            one = inner.get(key)
            yield from _comment(one.why if one else "", indent + "  ")
            yield from _entry(key, held, one, indent + "  ")
    else:
        yield from textwrap.wrap(line, WIDTH, subsequent_indent=indent + "  ", break_long_words=False)


def _comment(why: str, indent: str) -> list[str]:
    """Lines of a comment, none of an empty one; line breaks of the text stay, or it is filled."""
    if not why:
        return []
    if "\n" in why:
        return [f"{indent}# {line}" for line in why.splitlines()]
    mark = indent + "# "
    if why and len(mark + why) <= WIDTH + 2:  # no line for one last word
        return [mark + why]
    return textwrap.wrap(
        why, WIDTH, initial_indent=mark, subsequent_indent=mark, break_long_words=False, break_on_hyphens=False
    )


def flow(value: Any, inside: bool = False) -> str:
    """A value as it stands on one line of YAML; inside: of braces or brackets, where more must be quoted."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {flow(held, True)}" for key, held in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(held, True) for held in value) + "]"
    if isinstance(value, float):
        return re.sub(r"^(\d+)e-0?", r"\1.0e-", repr(value))
    if isinstance(value, str):
        unsafe = r"[,{}\[\]#`]|: |:$" if inside else r"[#`]|: |:$|\n"
        plain = value[:1].isalpha() and not re.search(unsafe, value) and yaml.safe_load(value) == value
        return value if plain else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)
