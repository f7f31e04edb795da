"""Which files are made from the options, and what each must hold."""

from __future__ import annotations

from pathlib import Path

from atlas.config.generate.config_text import config_text
from atlas.config.generate.docs_text import docs_text
from atlas.config.generate.schema_text import schema_text


def generated(project: Path) -> dict[Path, str]:
    """{file: text} of config.yaml, the schema and every page of docs/."""
    return {
        project / "config.yaml": config_text(),
        project / "schemas" / "config.schema.yaml": schema_text(),
        **{page: docs_text(page.read_text(encoding="utf-8")) for page in sorted((project / "docs").glob("*.md"))},
    }
