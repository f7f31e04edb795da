"""docs/models.md from the matrix of families: which analyses each model type has, and why not the others."""

import re
from collections import Counter

EQUAL, REFUSED, OPEN, NOT_BUILT = "equal", "refused", "not compared", "not built"
TITLES = {
    "sinks": "sinks",
    "head types": "",  # the same sums of the same attention
    "meaningless tokens": "meaningless tokens",
    "Min-K%": "Min-K%",
    "Min-K%, shared start": "",
    "answers": "answers",
    "hidden states": "hidden states",
    "saliency": "saliency",
    "Ships": "safety heads",
    "ablated answers": "ablated answers",
    "head categories": "",  # they read weights and run no model: docs/head_categories.md lists their families
    "head categories, raw embeddings": "",
}
KINDS = {
    "decoder": "Text decoders",
    "wrapper": "Text decoders inside models that read images",
    "part": "Decoders of encoder-decoder models, and generators of something else",
    "encoder": "Encoders",
}
_HEAD = """# Model families

<!-- Written by `make families`; do not edit. -->

Every model type that transformers {transformers} loads as a causal language model, made tiny with random weights
(`tests/tiny_families.yaml`), loaded as the workflow loads it, and given to every analysis: CPU, float32, torch {torch}.

- **=** every number equals the stock model's: one text at a time, eager attention, no cache, no padding, heads edited
  in the family's own code (`tests/stock_model.py`). To 2e-4 of the largest value, Gram matrices and saliency to 1e-3.
- **a number** the analysis refuses the family by name, for the reason below the tables.
- **!** wrong, or a traceback: a mistake of this workflow.

Every job makes such a check on the model itself before it measures (`atlas.attention.self_check`), so a type that is
not listed here is measured or refused too. `make check MODEL=FOLDER` prints the row of a model of yours.
Head categories read the weights alone, and of [more families](head_categories.md#which-models) than stand here; each of
those is tested against its loaded modules.
"""


# What differs from family to family in a refusal, and what stands for it here.
_PARTICULAR = (
    (r"^[\w.]+ \('[^']*'\)(, [^:]*)?: ", ""),
    (r"Model type '[^']*' \(\w+\)|[Ff]amily '[^']*'", "The family"),
    (r"/\S*/", ""),
    (r"Model \S+[: ]+", ""),
    (r"(; leave this model|; choose a|; supported|; give a|\. Please request).*", ""),
    (r"by \d\.\de[+-]\d\d of the largest value ", ""),
    (r"cannot be run this way \(.*", "cannot be run this way"),
    (r"layers? \d+", "a layer"),
    (r"head \d+", "a head"),
    (r"\d+ of (its )?\d+ layers( have none)? \(\d+ is the first\)", r"some layers\2"),
    (r"in \w+For\w+|in \w+LMHeadModel", "in the model"),
    (r"shape \([\d, ]+\)", "another shape"),
    (r"width \d+", "the model's width"),
    (r"\b\d+ (times|decoder layers)", r"several \1"),
    (r"tensor '[^']*' is quantised \((\w+)\), but config.json", r"a tensor is stored as \1, but config.json"),
)


def reason(said):
    """A refusal without what differs from family to family."""
    for pattern, instead in _PARTICULAR:
        said = re.sub(pattern, instead, said)
    said = said.strip().rstrip(".")
    return said[:1].upper() + said[1:]


def page(document):
    """The page as Markdown. document: what `family_matrix.py --json` writes."""
    types, reasons = document["types"], {}
    parts = [_HEAD.format(**document), _counts(types)]
    for kind, title in KINDS.items():
        rows = {name: one["row"] for name, one in sorted(types.items()) if one["kind"] == kind and "" not in one["row"]}
        if not rows:
            continue
        columns = [column for column, heading in TITLES.items() if heading]
        head = "| model type | " + " | ".join(TITLES[column] for column in columns) + " |"
        table = [head, "| --- |" + " --- |" * len(columns)]
        for name, row in rows.items():
            table.append(f"| {name} | " + " | ".join(_cell(row, column, reasons) for column in columns) + " |")
        parts.append(f"## {title}\n\n" + "\n".join(table) + "\n")
    parts.append("## Reasons\n\n" + "\n".join(f"{number}. {said}." for said, number in reasons.items()) + "\n")
    left = sorted(name for name, one in types.items() if "" in one["row"])
    parts.append("## Not built\n\nCould not be made tiny, so not tried: " + ", ".join(left) + ".\n")
    return "\n".join(parts)


def _cell(row, column, reasons):
    """What a row says of a column; Min-K% stands for both of its ways."""
    found = [row[name] for name in ([column, "Min-K%, shared start"] if column == "Min-K%" else [column])]
    if all(what == EQUAL for what, _ in found):
        return "="
    if any(what not in (EQUAL, REFUSED) for what, _ in found):
        return "!"
    said = next(said for what, said in found if what == REFUSED)
    return str(reasons.setdefault(reason(said), len(reasons) + 1))


def _counts(types):
    rows = [one["row"] for one in types.values() if one["kind"] == "decoder" and "" not in one["row"]]
    forward = [name for name in TITLES if not name.startswith("head categories")]
    every = sum(all(row[name][0] == EQUAL for name in forward) for row in rows)
    wrong = Counter(row[name][0] for row in rows for name in forward if row[name][0] not in (EQUAL, REFUSED))
    said = ", ".join(f"{number} of {what}" for what, number in wrong.items()) or "none"
    return (
        f"Of {len(rows)} text decoders {every} have every analysis that runs the model; cells that are wrong: {said}.\n"
    )
