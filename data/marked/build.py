"""Write data/marked/reviews.jsonl: few-shot prompts of reviews with their label words marked.

    python data/marked/build.py            # reviews.jsonl beside this file, the same bytes each time

Four demonstrations, two of each label, in each of the six orders of two and two; a fifth review of either label is the
question. Twice over with other sentences: 6 x 2 x 2 = 24 prompts. No sentence stands twice in a prompt.
"""

from __future__ import annotations

import json
import random
from itertools import permutations
from pathlib import Path
from typing import Any

SEED, ROUNDS = 0, 2
LABELS = {"positive": "positive", "negative": "negative"}
SENTENCES = {
    "positive": [
        "I laughed from the first scene to the last.",
        "The soup was warm and full of flavour.",
        "Our room was quiet, clean and bright.",
        "She sings as if every word mattered.",
        "A clever plot that kept me guessing.",
        "The staff could not have been kinder.",
        "This lamp looks lovely on my desk.",
        "I finished the book in one happy evening.",
        "The music lifts every quiet moment.",
        "Best bread I have had in years.",
        "The guide knew every corner of the town.",
        "It arrived early and works perfectly.",
        "A tender story, told with real care.",
        "The view from the terrace took my breath away.",
        "My children ask for this game every day.",
        "The acting is honest and moving.",
        "Fresh fish, fair prices and a warm welcome.",
        "The shoes fit well and feel light.",
        "I would watch it again tomorrow.",
        "The garden was a joy to walk through.",
        "Sharp pictures and an easy menu.",
        "A fine cast makes every minute count.",
        "The coffee alone is worth the trip.",
        "I learned more here than in a year of school.",
    ],
    "negative": [
        "I looked at my watch after ten minutes.",
        "The soup was cold and tasted of nothing.",
        "Our room was noisy, dark and damp.",
        "She sings as if she were reading a list.",
        "A tired plot that I guessed at once.",
        "The staff ignored us for an hour.",
        "This lamp broke on the second day.",
        "I gave up on the book by page thirty.",
        "The music drowns every quiet moment.",
        "The bread was stale and hard as stone.",
        "The guide had plainly never been there.",
        "It arrived late and never worked.",
        "A cruel story, told without any care.",
        "The view from the terrace was a brick wall.",
        "My children were bored before the first round ended.",
        "The acting is stiff and false.",
        "Old fish, steep prices and a rude welcome.",
        "The shoes pinch and came apart in a week.",
        "I would not sit through it again.",
        "The garden was a heap of dry weeds.",
        "Blurred pictures and a maze of a menu.",
        "A fine cast is wasted in every minute.",
        "The coffee alone ruined the morning.",
        "I learned nothing that I wanted to know.",
    ],
}


def prompt_of(shown: list[tuple[str, str]], asked: tuple[str, str], name: str) -> dict[str, Any]:
    """A row of kind marked: the demonstrations `shown` and the review `asked`, each (label, sentence)."""
    prompt, labels = "", []
    for label, sentence in shown:
        prompt += f"Review: {sentence}\nSentiment: "
        labels.append([len(prompt), len(prompt) + len(LABELS[label])])
        prompt += f"{LABELS[label]}\n\n"
    prompt += f"Review: {asked[1]}\nSentiment:"
    return {"id": name, "prompt": prompt, "answer": f" {LABELS[asked[0]]}", "spans": {"label": labels}}


def rows() -> list[dict[str, Any]]:
    """All prompts, in a fixed order."""
    drawn = random.Random(SEED)
    left: dict[str, list[str]] = {label: [] for label in SENTENCES}

    def take(label: str, used: set[str]) -> str:
        """A sentence that the prompt has not; all of a label are used before one comes again."""
        if not any(sentence not in used for sentence in left[label]):
            left[label] += drawn.sample(SENTENCES[label], len(SENTENCES[label]))
        sentence = next(one for one in left[label] if one not in used)
        left[label].remove(sentence)
        used.add(sentence)
        return sentence

    orders = sorted(set(permutations(("negative", "negative", "positive", "positive"))))
    found = []
    for _ in range(ROUNDS):
        for order in orders:
            for asked in SENTENCES:
                used: set[str] = set()
                shown = [(label, take(label, used)) for label in order]
                found.append(prompt_of(shown, (asked, take(asked, used)), f"review-{len(found):02d}"))
    return found


def text() -> str:
    """The file's text."""
    return "".join(json.dumps(row) + "\n" for row in rows())


if __name__ == "__main__":
    Path(__file__).with_name("reviews.jsonl").write_text(text(), encoding="utf-8")
