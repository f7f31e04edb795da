"""Answered questions as saliency reads them: token ids, the chosen token sets, and what all of them share."""

from dataclasses import dataclass

from atlas.errors import AtlasError

POSITIONS = ("exact_answer", "answer_end")


@dataclass(frozen=True)
class AnsweredSample:
    """One question with the model's answer.

    number: row of the file; ids: prefix, question and answer up to the position that the probe reads, its last entry;
    question, answer, random: positions in ids of the exact question tokens E_Q, of the exact answer tokens E_A and of
    the random question tokens.
    """

    number: int
    ids: tuple[int, ...]
    question: tuple[int, ...]
    answer: tuple[int, ...]
    random: tuple[int, ...]


def answered_samples(frame, *, only_chosen, position="exact_answer"):
    """([AnsweredSample], prefix ids) of a qa_samples frame: the rows of the saliency sample, or all of them.

    position: where each text ends: at its last exact answer token, or where the answer ends.
    Raises AtlasError for a file without rows, and names the sample whose token sets do not fit its text.
    """
    if frame.empty or (only_chosen and not frame["chosen"].any()):
        raise AtlasError("There is no answered question to measure; add questions or raise analyses.saliency.samples.")
    prefix = int(frame["prefix"].iloc[0])
    shared = tuple(int(i) for i in frame["ids"].iloc[0][:prefix])
    found = []
    for number, row in enumerate(frame.itertuples()):
        if only_chosen and not row.chosen:
            continue
        ids = tuple(int(i) for i in row.ids)
        sets = {
            name: tuple(int(i) for i in getattr(row, f"{name}_tokens")) for name in ("question", "answer", "random")
        }
        for name, positions in sets.items():
            if not positions or min(positions) < 0 or max(positions) >= len(ids):
                raise AtlasError(f"Sample {row.sample!r}: its {name} tokens {list(positions)} do not lie in its text.")
        if min(sets["answer"]) <= max((*sets["question"], *sets["random"])) or ids[:prefix] != shared:
            raise AtlasError(
                f"Sample {row.sample!r}: its answer does not follow its question behind the shared prefix."
            )
        end = max(sets["answer"]) + 1 if position == "exact_answer" else len(ids)
        found.append(AnsweredSample(number, ids[:end], **sets))
    return found, shared
