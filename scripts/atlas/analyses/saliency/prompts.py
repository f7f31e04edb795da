"""Questions as prompts behind worked examples, with the place of the question's characters among the tokens.

Asking for the exact answer inside a longer one follows Orgad et al. 2025, "LLMs Know More Than They Show"
(arXiv 2410.02707).
"""

import json
from dataclasses import dataclass
from pathlib import Path

from atlas.analyses.saliency.words import find_words, words
from atlas.data.chat import chat_frame
from atlas.data.tokens import common_prefix, encode, encode_with_offsets
from atlas.errors import AtlasError

_EXTRACT = "Give only the words of the answer that answer the question."


@dataclass(frozen=True)
class Asked:
    """number: row of the data set; ids: the prompt's tokens; places: for each the part [begin, end) of the question
    that it stands for, empty (0, 0) for tokens of the frame."""

    number: int
    ids: tuple[int, ...]
    places: tuple[tuple[int, int], ...]


def read_demonstrations(path):
    """[{question, answer, long_answer}] of a JSON-lines file. Raises AtlasError naming the line."""
    rows, path = [], Path(path)
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            example = {key: row[key].strip() for key in ("question", "answer", "long_answer")}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise AtlasError(
                f"{path} line {number}: not a worked example ({error!r}); give question, answer and long_answer."
            ) from error
        if example["answer"] not in example["long_answer"]:
            raise AtlasError(f"{path} line {number}: long_answer does not hold the answer {example['answer']!r}.")
        rows.append(example)
    if not rows:
        raise AtlasError(f"{path}: it holds no worked example; give at least one.")
    return rows


def ask(tokenizer, table, demonstrations, *, prompt, context, max_new_tokens):
    """([Asked], prefix, dropped) for the questions of a qa data set.

    prompt: few_shot or chat. context: the most tokens that the model reads, None for any number.
    prefix: how many leading tokens all prompts share (none stands for a part of a question).
    dropped: {reason: [ids]} of the questions that are not asked.
    """
    shown = {tuple(word.text for word in words(row["question"])) for row in demonstrations}
    dropped = {"question is a worked example": [], "no answer holds a word": [], "prompt longer than the context": []}
    frame = answer_frame(tokenizer, demonstrations, prompt)
    asked = []
    for number, (name, question, answers) in enumerate(
        zip(table["id"], table["question"], table["answers"], strict=True)
    ):
        if tuple(word.text for word in words(question)) in shown:
            dropped["question is a worked example"].append(name)
        elif not any(words(answer) for answer in answers):
            dropped["no answer holds a word"].append(name)
        else:
            found = place(tokenizer, number, question, frame)
            if context is not None and len(found.ids) + max_new_tokens > context:
                dropped["prompt longer than the context"].append(name)
            else:
                asked.append(found)
    if not asked:
        counts = ", ".join(f"{len(names)} {reason}" for reason, names in dropped.items() if names)
        raise AtlasError(f"none of {len(table)} questions can be asked ({counts}); take another data set or prompt.")
    return asked, shared_prefix(tokenizer, asked, frame), dropped


def ask_exact(tokenizer, judged, table, demonstrations, *, prompt, context, max_new_tokens):
    """([Asked], prefix) of the prompts that ask for the exact answer inside the answers `judged`.

    judged: anything with `asked` and `text` (analyses.qa_samples.Judged). Prompts beyond the context are left out.
    """
    frame = extraction_frame(tokenizer, demonstrations, prompt)
    found = []
    for item in judged:
        number = item.asked.number
        asked = place(tokenizer, number, extraction_text(table["question"][number], item.text), frame)
        if context is None or len(asked.ids) + max_new_tokens <= context:
            found.append(asked)
    return found, shared_prefix(tokenizer, found, frame) if found else 0


def answer_frame(tokenizer, demonstrations, prompt):
    """(text before a question, text after it, whether special tokens are added), up to where its answer starts."""
    shown = [(row["question"], row["answer"]) for row in demonstrations]
    return _frame(tokenizer, prompt, shown, ("Question: ", "\nAnswer:"), "")


def extraction_frame(tokenizer, demonstrations, prompt):
    """The same for the text of `extraction_text`, up to where the exact answer starts."""
    shown = [(extraction_text(row["question"], row["long_answer"]), row["answer"]) for row in demonstrations]
    return _frame(tokenizer, prompt, shown, ("Question: ", "\nExact answer:"), f"{_EXTRACT}\n\n")


def extraction_text(question, answer):
    """A question with a long answer, as it stands in the frame of `extraction_frame`."""
    return f"{question}\nAnswer: {answer}"


def _frame(tokenizer, prompt, shown, around, instruction):
    lead, tail = around
    if prompt == "few_shot":
        turns = "".join(f"{lead}{text}{tail} {reply}\n\n" for text, reply in shown)
        return f"{instruction}{turns}{lead}", tail, True
    turns = [
        {"role": role, "content": content}
        for text, reply in shown
        for role, content in (("user", instruction + text), ("assistant", reply))
    ]
    before, after = chat_frame(tokenizer, turns, "analyses.saliency.prompt", "few_shot", lead=instruction)
    return before, after, False


def place(tokenizer, number, text, frame):
    """Asked of one `text` in its frame, tokenised as one text."""
    before, after, special = frame
    ids, offsets = encode_with_offsets(tokenizer, before + text + after, special)
    start, end = len(before), len(before) + len(text)
    places = [(max(first, start) - start, min(last, end) - start) for first, last in offsets]
    return Asked(number, tuple(ids), tuple(pair if pair[0] < pair[1] else (0, 0) for pair in places))


def shared_prefix(tokenizer, asked, frame):
    """Number of leading tokens of the frame that all prompts share and that merged with no question."""
    before, _, special = frame
    alone = encode(tokenizer, before, special)
    clean = [next((i for i, (a, b) in enumerate(prompt.places) if a < b), len(prompt.ids)) for prompt in asked]
    shared = [common_prefix(prompt.ids, alone) for prompt in asked]
    return min(*clean, *shared, *(len(prompt.ids) - 1 for prompt in asked))


def exact_in(answer, reply):
    """[begin, end) of a model's `reply` to the question for the exact answer, if its first line stands in `answer`."""
    lines = reply.strip().splitlines()
    return find_words(answer, lines[0]) if lines else None
