"""What a model answers to the questions of a qa data set, as it is stored: the tokens that it wrote."""

import pandas as pd


def token_answers(answers, table, tokenizer):
    """A frame with number, id, answer (text, for reading), tokens (ids without the end token), stop and prompt_tokens.

    answers: [models.generation.Answer].
    """
    return pd.DataFrame(
        {
            "number": [answer.number for answer in answers],
            "id": [table["id"][answer.number] for answer in answers],
            "answer": [tokenizer.decode(answer.ids).strip() for answer in answers],
            "tokens": [list(answer.ids) for answer in answers],
            "stop": [answer.stop for answer in answers],
            "prompt_tokens": [answer.prompt_tokens for answer in answers],
        }
    )
