"""The one exception that users see as a sentence instead of a traceback."""


class AtlasError(Exception):
    """Bad input, a failed download, an unsupported model: anything the user can act on.

    The message is one sentence: which file, key or sample; what is wrong; what to do.
    """
