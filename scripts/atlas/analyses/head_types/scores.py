"""The head types, in the order of their scores: extraction, metrics and figures read it (no torch, no numpy)."""

TYPES = ("previous_token", "duplicate_token", "induction")


def distance(kind: str, length: int) -> int:
    """How many places back a head of this type looks from the second copy of `length` tokens."""
    return {"previous_token": 1, "duplicate_token": length, "induction": length - 1}[kind]
