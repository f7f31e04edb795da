"""Families whose heads no fixed matrix describes, and why: their maps are refused by name."""

_GATED = "what a head writes passes a gate for each channel that the reading token sets, so that it maps no token alone"
UNREADABLE: dict[str, str] = {
    **dict.fromkeys(
        "afmoe beam qwen3_next qwen3_5_text qwen3_5_moe_text qwen4_exp_text hy_v4 axk2 dots3_note_text".split(), _GATED
    ),
    "diffllama": "a head's pattern is the difference of two, over the values of two heads",
    "dbrx": "its values are cut off (clip_qkv)",
    **dict.fromkeys(
        ("inkling_text", "inkling2_text"),
        "a convolution mixes the values of a token with those of the tokens before it",
    ),
    "jetmoe": "a router chooses the queries and output matrices of each token",
    "gemma3n_text": "its residual has several streams, and upper layers take the values of lower ones",
    **dict.fromkeys(
        "gemma4_text gemma4_unified_text mimo_v2_flash".split(),
        "its layers differ in the width and the number of their heads",
    ),
    "deepseek_v4": "its residual has several streams, and heads write through shared low-rank matrices",
    "zamba": "attention reads the embedding beside the residual, so that no source token is a row of the embedding",
    "zamba2": "attention reads the embedding beside the residual, so that no source token is a row of the embedding",
}
