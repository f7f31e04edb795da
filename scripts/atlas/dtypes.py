"""What is said of number formats where torch is not loaded."""

# Formats of 16 bits: results computed in them say so, with their error where it was measured.
HALF = ("bfloat16", "float16")
