"""The tables of docs/claims.md: what each claim says, how it is measured, and what would fool it."""

from __future__ import annotations

from collections.abc import Iterator

from atlas.analyses.claims.verdicts import Rule
from atlas.analyses.registry import CLAIMS
from atlas.errors import AtlasError


def claims_table(folder: str) -> Iterator[str]:
    """Lines of the table of a folder's claims."""
    if folder not in CLAIMS:
        raise AtlasError(f"docs: there are no claims of {folder!r}; there are: {', '.join(CLAIMS)}.")
    yield "| claim | measured | holds | what would fool it |\n| --- | --- | --- | --- |\n"
    for claim in CLAIMS[folder].claims:
        needs = f" Needs {claim.needs}." if claim.needs else ""
        for place, part in enumerate(claim.parts):
            first = f"**{claim.id}** {claim.says}{needs}" if place == 0 else ""
            named = f"{part.name}: {part.measure}" + ("" if part.decides else " (told, does not decide)")
            cells = [first, named, Rule.of(part.holds).words, claim.traps.strip() if place == 0 else ""]
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"
