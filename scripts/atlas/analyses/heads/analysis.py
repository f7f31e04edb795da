"""All analyses, head by head: one row per head, and whether they point at the same heads."""

from atlas.analyses.heads.page_files import FILES
from atlas.analyses.record import Analysis, Plot

_CATEGORY = "All analyses, head by head"

ANALYSES = {
    "heads": Analysis(
        joined=("heads", "head_overlap"),
        plots={
            "head_overlap": Plot(("head_overlap",), _CATEGORY),
            "explorer": Plot(
                ("heads",),
                _CATEGORY,
                beside=("head_relations", "salient_operations", "attention_weights", "claims"),
                asked_by={"claims": "claims"},
                page=True,
                files=tuple(f"page/{name}" for name in FILES),
            ),
        },
    ),
}
