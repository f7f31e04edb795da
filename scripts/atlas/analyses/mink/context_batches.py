"""How many questions behind others are answered at once: a quarter of `batch_size`.

Their prompts are about five times as long as questions alone.
"""


def context_batch(batch_size: int) -> int:
    """Prompts of one batch where `predictions.batch_size` is `batch_size`; results depend on it by rounding only."""
    return max(1, batch_size // 4)
