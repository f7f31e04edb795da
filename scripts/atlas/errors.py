"""The one exception that users see as a sentence instead of a traceback."""


class AtlasError(Exception):
    """Bad input, a failed download, an unsupported model: anything the user can act on.

    The message is one sentence: which file, key or sample; what is wrong; what to do. It may quote what was read, so
    signs that a terminal would obey, or could not print, stand in it as their escapes.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(visible(message))


def visible(text: str) -> str:
    r"""`text` with what cannot be seen (controls, direction marks, half characters) written as \x1b, \u202e, \ud800."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() or sign == "\n" else sign.encode("unicode_escape").decode("ascii") for sign in text
    )


def reason(error: BaseException, longest: int = 200) -> str:
    """What another library says went wrong, as part of a sentence of ours: on one line, without a point at its end.

    Python's own errors say little without their name (`KeyError: 'x'`).
    """
    told = " ".join(str(error).split()).rstrip(".:; ")
    if not told or isinstance(error, (LookupError, TypeError, AttributeError, ArithmeticError, AssertionError)):
        told = f"{type(error).__name__}: {told}" if told else type(error).__name__
    return told if len(told) <= longest else told[: longest - 3] + "..."
