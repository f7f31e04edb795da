"""Write the model and the data that configs/tiny.yaml reads: `python tests/make_tiny.py FOLDER`."""

import json
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from tiny_models import save_folder

FAMILY = "llama"


def make(folder, family=FAMILY):
    """A tiny random model, 24 questions, 20 passages, 12 graphs of questions, 40 labelled texts, 40 trivia
    questions and 13 marked prompts below `folder`."""
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
    (folder / "graph.jsonl").write_text("".join(json.dumps(row) + "\n" for row in graph(random.Random(1))))
    _collection(folder / "collection.jsonl", random.Random(3))
    _relations(folder / "relations", draw)
    _trivia(folder, random.Random(2))
    _marked(folder / "marked.jsonl", random.Random(4))


def _collection(file, draw):
    """40 labelled texts of the same kind, so that a random model cannot tell members from others."""
    rows = [
        {
            "id": f"c{i}",
            "text": " ".join(f"w{draw.randrange(10, 190)}" for _ in range(draw.randrange(8, 30))),
            "label": i % 2,
        }
        for i in range(40)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _marked(file, draw):
    """13 prompts of marked words, each behind a few others; the last two have none marked, or one that is not there."""
    rows = []
    for number in range(12):
        prompt, labels = "", []
        for _ in range(3):
            prompt += " ".join(f"w{draw.randrange(10, 190)}" for _ in range(draw.randrange(3, 6))) + " "
            labels.append([len(prompt), len(prompt) + 2])
            prompt += f"w{draw.randrange(2, 4)} "
        spans = {"label": labels} if number < 11 else {"other": labels}
        rows.append({"id": f"m{number}", "prompt": f"{prompt}w5", "answer": f" w{2 + number % 2}", "spans": spans})
    rows.append({**rows[0], "id": "m12", "spans": {"label": [[0, 999]]}})
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _trivia(folder, draw):
    """40 questions with so many accepted answers that a random model gets some right, and worked examples."""

    def words(length):
        return " ".join(f"w{draw.randrange(196)}" for _ in range(length))

    rows = [
        {"id": f"t{i}", "question": words(draw.randrange(4, 12)), "answers": [words(1) for _ in range(24)]}
        for i in range(40)
    ]
    for row in rows[::5]:
        row["question_spans"] = [[0, len(row["question"].split()[0])]]
    rows[1]["question"] = "What is it?"  # no content word
    (folder / "trivia.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = [(words(5), words(2)) for _ in range(2)]
    demonstrations = [
        {"question": question, "answer": answer, "long_answer": f"w3 w4 {answer} w5"} for question, answer in shown
    ]
    (folder / "demonstrations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in demonstrations))


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


def graph(draw):
    """12 D3 questions, each on two D2 questions, each on two D1 questions, and a D1 question with a short answer."""

    def row(name, depth, below, length):
        text = {
            key: " ".join(f"w{draw.randrange(196)}" for _ in range(n))
            for key, n in (("question", 4), ("answer", length))
        }
        return {"id": name, "depth": depth, **text, "predecessors": below, "score_tiny": draw.randrange(1, 6)}

    for i in range(12):
        for j in range(2):
            for k in range(2):
                yield row(f"d1-{i}-{j}-{k}", 1, [], 6 + k)
            yield row(f"d2-{i}-{j}", 2, [f"d1-{i}-{j}-{k}" for k in range(2)], 10 + j)
        yield row(f"d3-{i}", 3, [f"d2-{i}-{j}" for j in range(2)], 20 + i)
    yield row("d1-short", 1, [], 2)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
