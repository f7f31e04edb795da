"""Text to token ids, the same way in every analysis."""


def encode(tokenizer, text, special):
    """Token ids of `text`, with what the tokenizer puts in front of it where `special`, never with an end token."""
    if not special:
        return list(tokenizer(text, add_special_tokens=False).input_ids)
    ids = list(tokenizer(text).input_ids)
    plain = len(tokenizer(text, add_special_tokens=False).input_ids)
    while len(ids) > plain and ids[-1] in tokenizer.all_special_ids and ids[-1] != tokenizer.bos_token_id:
        ids.pop()
    return ids
