"""The labels of heads and their colours in the figures of head categories."""

# In the order of the source's legend; its colours are grey, blue, orange, green, red, and purples from light to dark.
COLOURS = {
    "Unclassified": "#c7c7c7",
    "Algorithmic": "#1f77b4",
    "Knowledge": "#ff7f0e",
    "Linguistic": "#2ca02c",
    "Translation": "#d62728",
    "2 categories": "#cbb2e3",
    "3 categories": "#9467bd",
    "4 categories": "#4b1f78",
}
