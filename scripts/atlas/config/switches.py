"""Analyses that are switched off (`mink: null`, or not in `only:`), and everything that goes with them."""

from __future__ import annotations

from typing import Any

from atlas.analyses.registry import ANALYSES, JOINED_FROM, PLOT_ANALYSES
from atlas.config import checks
from atlas.config.problems import nearest, raise_all

Config = dict[str, Any]


def switched(config: Config) -> list[str]:
    """Take out of `config`, in place, what is switched off; returns a sentence on it, or nothing.

    What `config` says is not checked yet: whatever has another form than it must have is left to the schema.
    """
    blocks, figures = config.get("analyses"), config.get("figures")
    if not isinstance(blocks, dict) or not isinstance(figures, dict):
        return []
    off = [name for name in ANALYSES if name in blocks and blocks[name] is None]
    kept = _only(config.get("only"), blocks)
    off += [name for name in ANALYSES if kept and name in blocks and name not in kept and name not in off]
    off += [name for name in ANALYSES if name in blocks and name not in off and ANALYSES[name].starts_from in off]
    if not off:
        return []
    for name in off:
        del blocks[name]
    for name in _joined(blocks):
        checks.without(name, blocks[name], off)
    gone = [name for name in _joined(blocks) if not _joins(name, blocks) and not (kept and name in kept)]
    for name in gone:
        del blocks[name]
    drawn = [key for key, figure in figures.items() if _analysis(key, figure) in (*off, *gone)]
    for key in drawn:
        del figures[key]
    parts = []
    for key, figure in figures.items():
        if (analysis := _analysis(key, figure)) in _joined(blocks) and isinstance(figure, dict):
            parts += [f"figures.{key}: {what}" for what in checks.figure_without(analysis, figure, off)]
    return [_sentence([*off, *gone], drawn, parts)] if drawn or gone or parts else []


def _only(only: Any, blocks: Config) -> list[str] | None:
    """The analyses that `only` names, each with what it starts from there; None where it does not say."""
    names = [only] if isinstance(only, str) else only
    if not isinstance(names, list) or not names or not set(map(str, names)) <= set(ANALYSES):
        return None
    problems = []
    for name in names:
        if name not in blocks or blocks[name] is None:
            problems.append(f"only: analyses.{name} is not in the configuration; {nearest(name, blocks)}")
        elif (base := ANALYSES[name].starts_from) and base not in names:
            problems.append(f"only: {name} starts from {base}; name both.")
    raise_all(problems)
    return names


def _joined(blocks: Config) -> list[str]:
    """Analyses without data sets of their own: they join what others have found."""
    return [name for name in ANALYSES if ANALYSES[name].kind is None and isinstance(blocks.get(name), dict)]


def _joins(name: str, blocks: Config) -> bool:
    return any(other in JOINED_FROM[name] for other in blocks)


def _analysis(key: str, figure: Any) -> str | None:
    plot = figure.get("plot", key) if isinstance(figure, dict) else key
    return PLOT_ANALYSES.get(plot) if isinstance(plot, str) else None


def _sentence(off: list[str], drawn: list[str], parts: list[str]) -> str:
    texts = [f"Switched off: {', '.join(f'analyses.{name}' for name in off)}"]
    if drawn:
        which = ", ".join(f"figures.{key}" for key in drawn)
        texts[0] += f", and with {'it' if len(off) == 1 else 'them'} {which}"
    return "; ".join([*texts, *parts]) + "."
