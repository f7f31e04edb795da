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
    "head categories": "head categories",
    "head categories, raw embeddings": "of raw embeddings",
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
- **a letter** the architecture has no such thing to measure, and the analysis says so by name; the letters stand below.
- **a number** the analysis refuses the family by name, for the reason below the tables: not supported yet.
- **?** measured, but the stock model does not say what is right in a way that the script could compare.
- **!** wrong, or a traceback: a mistake of this workflow.

Layers without attention (of hybrids) have nulls in every table, and every number of the others is compared.

Every job makes such a check on the model itself before it measures (`atlas.attention.self_check`), so a type that is
not listed here is measured or refused too. `make check MODEL=FOLDER` prints the row of a model of yours.
Head categories read the weights alone, with E' where the family has it and with the embedding as it is;
[their families](head_categories.md#which-models) are tested against loaded modules too.
"""


# What differs from family to family in a refusal, and what stands for it here.
_PARTICULAR = (
    (r"^[\w.]+ \('[^']*'\)(, [^:]*)?: ", ""),
    (r"Model type '[^']*' \(\w+\)|[Ff]amily '[^']*'", "The family"),
    (r"/\S*/", ""),
    (r"Model \S+[: ]+", ""),
    (r"(; leave this model|\. Leave this model|; choose a|; supported|; give a|\. Please request).*", ""),
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


_NO_DECODER = "so it is no decoder"
# Refusals that say what the architecture is, and not what this workflow cannot do with it.
_ARCHITECTURE = (
    "hand on a state",  # no attention at all
    "has no single attention",  # a difference of two, or a layer that runs several times
    "no single residual",  # several streams
    _NO_DECODER,
    "maps no token alone",  # head categories: a gate for each channel
    "over the values of two heads",
    "no source token is a row of the embedding",
    "a router chooses the queries",
    "mixes the values of a token",
    "has several streams",
    "values are cut off",
)


def by_architecture(said):
    """Whether a refusal says that the architecture has no such thing to measure."""
    return any(part in said for part in _ARCHITECTURE)


def reason(said):
    """A refusal without what differs from family to family."""
    for pattern, instead in _PARTICULAR:
        said = re.sub(pattern, instead, said)
    said = said.strip().rstrip(".")
    return said[:1].upper() + said[1:]


def page(document):
    """The page as Markdown. document: what `family_matrix.py --json` writes."""
    types, reasons, lacks = document["types"], {}, {}
    parts = [_HEAD.format(**document), _counts(types)]
    for kind, title in KINDS.items():
        rows = {name: one["row"] for name, one in sorted(types.items()) if one["kind"] == kind and "" not in one["row"]}
        if not rows:
            continue
        columns = [column for column, heading in TITLES.items() if heading]
        head = "| model type | " + " | ".join(TITLES[column] for column in columns) + " |"
        table = [head, "| --- |" + " --- |" * len(columns)]
        for name, row in rows.items():
            table.append(f"| {name} | " + " | ".join(_cell(row, column, reasons, lacks) for column in columns) + " |")
        parts.append(f"## {title}\n\n" + "\n".join(table) + "\n")
    said = "\n".join(f"- **{letter}** {said}." for said, letter in lacks.items())
    parts.append("## What architectures do not have\n\n" + said + "\n")
    said = "\n".join(f"{number}. {said}." for said, number in reasons.items())
    parts.append("## Not supported yet\n\n" + said + "\n")
    left = sorted(name for name, one in types.items() if "" in one["row"])
    parts.append("## Not built\n\nCould not be made tiny, so not tried: " + ", ".join(left) + ".\n")
    return "\n".join(parts)


def _cell(row, column, reasons, lacks):
    """What a row says of a column; Min-K% stands for both of its ways."""
    if column not in row:
        return ""  # not run: `--only`
    found = [row[name] for name in ([column, "Min-K%, shared start"] if column == "Min-K%" else [column])]
    if all(what == EQUAL for what, _ in found):
        return "="
    if any(what not in (EQUAL, REFUSED, OPEN) for what, _ in found):
        return "!"
    if not any(what == REFUSED for what, _ in found):
        return "?"
    said = next(said for what, said in found if what == REFUSED)
    said = next((other for _, other in row.values() if _NO_DECODER in other), said)  # then nothing else matters
    if by_architecture(said):
        return lacks.setdefault(reason(said), "abcdefghijklmnopqrstuvwxyz"[len(lacks)])
    return str(reasons.setdefault(reason(said), len(reasons) + 1))


def _counts(types):
    """How many text decoders have which analyses; the bar is what runs the model and the architecture allows."""
    rows = [one["row"] for one in types.values() if one["kind"] == "decoder" and "" not in one["row"]]
    forward = [name for name in TITLES if not name.startswith("head categories")]

    def has(row, cell, allowed):
        lacks = by_architecture(cell[1]) or any(_NO_DECODER in said for _, said in row.values())
        return cell[0] == EQUAL or (allowed and cell[0] == REFUSED and lacks)

    every = sum(all(has(row, row[name], False) for name in forward) for row in rows)
    allowed = sum(all(has(row, row[name], True) for name in forward) for row in rows)
    mapped = sum(row["head categories"][0] in (EQUAL, OPEN) for row in rows if "head categories" in row)
    equal = sum(row["head categories"][0] == EQUAL for row in rows if "head categories" in row)
    counted = Counter(what for row in rows for what, _ in row.values())
    wrong = ", ".join(f"{number} of {what}" for what, number in counted.items() if what not in (EQUAL, REFUSED, OPEN))
    partly = sum("head categories" not in row for row in rows)
    partly = f" {partly} rows are of an earlier run, without head categories (empty cells)." if partly else ""
    return (
        f"Of {len(rows)} text decoders {allowed} have every analysis that runs the model and that their architecture "
        f"allows: {every} have all, {allowed - every} all but those with a letter; {len(rows) - allowed} have a number "
        f"somewhere. {mapped} have head categories, {equal} of them compared here. Cells that are wrong: "
        f"{wrong or 'none'}.{partly}\n"
    )
