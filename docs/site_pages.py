"""Pages of the site (`make docs`) made of other files: CONTRIBUTING, CHANGELOG, one page for each package of ours."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
TAKEN = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
_LINK = re.compile(r"\]\(([^)#\s]+)(#[^)]*)?\)")


def packages() -> dict[str, list[str]]:
    """{package of atlas: its modules that say what they are}, in the order of names."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "scripts" / "atlas").rglob("*.py")):
        parts = path.relative_to(ROOT / "scripts").with_suffix("").parts
        module = ".".join(parts).removesuffix(".__init__")
        package = ".".join(parts[:3] if parts[1] == "analyses" and len(parts) > 3 else parts[:2]).removesuffix(
            ".__init__"
        )
        if path.parent == ROOT / "scripts" / "atlas":
            package = "atlas"
        if path.read_text(encoding="utf-8").lstrip().startswith('"""'):
            found.setdefault(package, []).append(module)
    return found


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that docs/ does not hold."""
    for source, page in TAKEN.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    listed = []
    for package, modules in packages().items():
        body = "\n\n".join(f"::: {module}" for module in modules)
        files.append(File.generated(config, f"reference/{package}.md", content=f"# {package}\n\n{body}\n"))
        listed.append(f"- [{package}]({package}.md)")
    index = "# Reference\n\nEvery public function and class of the library, by package.\n\n" + "\n".join(listed) + "\n"
    files.append(File.generated(config, "reference/index.md", content=index))
    return files


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the packages into the navigation."""
    entry = next(item for item in config.nav if "Reference" in item)
    entry["Reference"] = ["reference/index.md", *(f"reference/{package}.md" for package in packages())]
    return config


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links out of docs/ lead to the pages made of those files; other files of the project are named, not linked."""
    outside = page.file.src_uri in TAKEN.values()

    def placed(match: re.Match[str]) -> str:
        target, anchor = match[1], match[2] or ""
        if "://" in target:
            return match[0]
        target = target.removeprefix("docs/") if outside else target
        name = target.removeprefix("../")
        if name in TAKEN:
            return f"]({TAKEN[name]}{anchor})"
        if target.startswith("../") or (outside and not (ROOT / "docs" / target).exists()):
            return f"] (`{name}`)"
        return f"]({target}{anchor})"

    return _LINK.sub(placed, markdown)
