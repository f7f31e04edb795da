"""Shares as sentences have them."""


def percent(share: float) -> str:
    """An option that is a share, in percent with all its digits: `95%`, `99.5%`, `0.1%`."""
    return f"{100 * share:.9g}%"
