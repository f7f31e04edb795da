"""Limits of a model that takes anything, for tests of what is asked of it."""

from atlas.models.limits import Limits

ANY = Limits(tokens=None, vocabulary=1 << 40)
