"""What the fuzz tests share: how many examples, what an answer may be, and hostile texts, values and bytes.

The property is always the same: what the product gives is confirmed by an independent reader, or it says one sentence
(AtlasError) and has written nothing. By default few examples with a fixed seed; FUZZ=10000 draws so many over all
kinds, other ones each time (`make fuzz`).
"""

import os
import signal
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from atlas.errors import AtlasError

FUZZ = int(os.environ.get("FUZZ", "0"))
LONGEST = 20  # seconds of processor time that one example may take


def examples(few, share):
    """The settings of a test: `few` examples by default; `share` says which part of FUZZ examples it gets."""
    return settings(
        max_examples=max(few, round(FUZZ * share)) if FUZZ else few,
        derandomize=not FUZZ,
        database=None,
        deadline=None,
        print_blob=bool(FUZZ),
        phases=(Phase.explicit, Phase.generate, *((Phase.shrink,) if FUZZ else ())),
        suppress_health_check=list(HealthCheck),
    )


class Refused(str):
    """The sentence with which an input was refused."""


def answer(function, *arguments, **named):
    """What `function` returns,
    or the sentence that it refuses its input with. Anything else it raises is a finding."""

    def over(*_):
        raise TimeoutError(f"it takes more than {LONGEST} seconds")

    before = signal.signal(signal.SIGPROF, over)
    signal.setitimer(signal.ITIMER_PROF, LONGEST)
    try:
        return function(*arguments, **named)
    except AtlasError as error:
        return Refused(one_sentence(str(error)))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def one_sentence(text):
    """`text`, once it is known to be what a user can read: nothing empty, cut off, endless or unprintable."""
    assert text.strip() == text, repr(text)
    assert text.endswith((".", "?", ".)", "?)")), text[-200:]
    assert "Traceback" not in text
    assert len(text) < 5000, text[:1000]
    shown = text.replace("\n  - ", "")  # several problems of one configuration
    assert shown.isprintable(), ascii(text)
    return text


def files_below(folder):
    """{name: bytes} of all that lies below a folder; a link by where it points."""
    return {
        path.relative_to(folder).as_posix(): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_symlink() or path.is_file()
    }


@contextmanager
def untouched(folder):
    """Asserts that the block leaves a folder as it was."""
    before = files_below(folder)
    yield
    assert files_below(folder) == before


# Texts that some format takes for more than a text.
NASTY = [
    "", " ", "\u00a0", "\u3000", "\ufeff", "\x00", "\x1b[2J", "\r", "\n", "\r\n", "\t", "\u2028", "\u0085", "\u202e",
    "\u200d", "\ud800", "\U0001f600", "e\u0301", "ﬀ", "İ", "$x_{$", "US$5 vs US$7", "{foo}", "{0}", "{", "}}",
    "%s", "%",
    "<!--<script>", "</script>", "<b>&amp;", "]]>", ".. include:: /etc/passwd", "Tiny_", "`x`_", "|x|", "**", "=1+1",
    "=HYPERLINK(\"http://x\")", "+1", "-1", "@x", "'", "''", '"', '""', "\\", "\\N", "../../victim", "/etc/passwd",
    "~",
    "a/b", ".", "..", "con", "nan", "NaN", "null", "None", "true", "1e999", "0x1F", "1_000", "[1, 2]", '["a"]',
    "{'a': 1}",
    "[", "['a", "- a", "? ", "!!python/object/apply:os.system [x]", "&a *a", "<<", "#", "0", "-0", "01", "1.0",
    "١", "²",
]  # fmt: skip
nasty_texts = st.one_of(
    st.sampled_from(NASTY),
    st.text(max_size=20),
    st.lists(st.sampled_from([*NASTY, "word", " ", "w1"]), max_size=4).map("".join),
)
NUMBERS = [
    0, 1, -1, 2, 3, 0.0, -0.0, 0.5, 1.0, 2.0, 1.5, float("nan"), float("inf"), float("-inf"), 1e308, 5e-324, 2**31,
    2**53 + 1,
    2**63, 2**64, -(2**63) - 1, 10**30, 10**400, 1e9, 1e-9, True, False,
]  # fmt: skip
numbers = st.one_of(st.sampled_from(NUMBERS), st.integers(), st.floats())
# What JSON and YAML can hold.
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, nasty_texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(nasty_texts, inner, max_size=3)),
    max_leaves=6,
)


@st.composite
def damaged(draw, data):
    """Bytes that are cut off, longer, or other in some places."""
    found = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(found) - 1, 0)))
        match draw(st.sampled_from(["byte", "byte", "byte", "cut", "drop", "double", "insert", "zero"])):
            case "byte" if found:
                found[at] = draw(st.sampled_from([0, 1, 9, 10, 13, 32, 34, 44, 58, 91, 123, 127, 128, 192, 254, 255]))
            case "cut":
                del found[at:]
            case "drop":
                del found[at : at + draw(st.integers(1, 8))]
            case "double":
                found[at:at] = found[at : at + draw(st.integers(1, 64))]
            case "insert":
                found[at:at] = draw(st.binary(min_size=1, max_size=8))
            case "zero":
                found[at : at + 8] = bytes(len(found[at : at + 8]))
    return bytes(found)


@st.composite
def mutated(draw, tree, hostile=values):
    """A tree of mappings and lists with one to three places that are other, gone, new, or swapped."""
    tree = _copied(tree)
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        places = list(_places(tree))
        if not places:
            return draw(hostile)
        parent, key = draw(st.sampled_from(places))
        try:
            match draw(st.sampled_from(["value", "value", "value", "type", "drop", "add", "rename", "swap"])):
                case "value":
                    parent[key] = draw(hostile)
                case "type":
                    parent[key] = draw(st.sampled_from([[parent[key]], {"a": parent[key]}, str(parent[key]), None]))
                case "drop":
                    del parent[key]
                case "add" if isinstance(parent, dict):
                    parent[draw(nasty_texts)] = draw(hostile)
                case "add":
                    parent.insert(draw(st.integers(0, len(parent))), draw(hostile))
                case "rename" if isinstance(parent, dict):
                    parent[draw(st.one_of(nasty_texts, numbers))] = parent.pop(key)
                case "swap":
                    other, place = draw(st.sampled_from(places))
                    parent[key] = _copied(other[place])
        except (KeyError, IndexError):  # an earlier change took the place away
            continue
    return tree


def _copied(tree):
    if isinstance(tree, dict):
        return {key: _copied(value) for key, value in tree.items()}
    return [_copied(value) for value in tree] if isinstance(tree, list) else tree


def _places(tree):
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield tree, key
        yield from _places(value)
