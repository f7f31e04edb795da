"""What is said of number formats where torch is not loaded."""

DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# Formats of 16 bits: results computed in them say so, with their error where it was measured.
HALF = ("bfloat16", "float16")
# From this compute capability on a card computes bfloat16 itself; older ones emulate it, slowly.
NATIVE_BFLOAT16 = 8
