"""Write the model and the data that configs/tiny.yaml reads: `python tests/make_tiny.py FOLDER`."""

import json
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from tiny_models import save_folder

FAMILY = "llama"


def make(folder, family=FAMILY):
    """A tiny random model, 24 questions and 20 passages below `folder`."""
    folder = Path(folder)
    save_folder(folder / "model", family)
    draw = random.Random(0)
    questions = [
        {"id": f"q{i}", "text": " ".join(f"w{draw.randrange(10, 190)}" for _ in range(draw.randrange(6, 20)))}
        for i in range(24)
    ]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    passages = [" ".join(f"w{draw.randrange(10, 190)}" for _ in range(draw.randrange(12, 40))) for _ in range(20)]
    (folder / "passages.txt").write_text("\n".join(passages) + "\n")
    _relations(folder / "relations", draw)


def _relations(folder, draw):
    """Two relations whose words are all known to the tokenizer, and one that it splits."""
    folder.mkdir()
    lines = ["relation,category,description"]
    for relation, category in (("copying", "Algorithmic"), ("word_to_synonym", "Linguistic")):
        sources = draw.sample(range(10, 190), 30)
        targets = sources if relation == "copying" else draw.sample(range(10, 190), 30)
        rows = [f"w{source},w{target}" for source, target in zip(sources, targets, strict=True)]
        (folder / f"{relation}.csv").write_text("\n".join(["source,target", *rows]) + "\n")
        lines.append(f"{relation},{category},tiny")
    rows = [f"{year},{year + 1}" for year in range(1990, 2010)]
    (folder / "year_to_following.csv").write_text("\n".join(["source,target", *rows]) + "\n")
    (folder / "relations.csv").write_text("\n".join([*lines, "year_to_following,Algorithmic,tiny"]) + "\n")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
