"""How figures tell the kinds of input apart."""

from atlas.plots import style

# kind -> (colour, dashes, label), and in words
STYLES = {
    "natural": (style.BLUE, "-", "natural"),
    "random": (style.ORANGE, "--", "random"),
    "repeated": (style.GREEN, ":", "repeated"),
}
INPUTS = {"natural": "natural text", "random": "random token ids", "repeated": "one random id repeated"}
