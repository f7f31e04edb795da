"""How the shards of each extraction are joined."""

import numpy as np

from atlas.analyses.safety_heads import storage as head_ablation_layout
from atlas.analyses.mink import storage as logprob_layout
from atlas.analyses.meaningless_tokens import storage as meaningless_layout
from atlas.results.shards import merge_samples
from atlas.errors import AtlasError


def gather(extraction, parts):
    """One {name: array} from those of all shards; the same bytes for any number of shards."""
    if extraction == "attention":
        return meaningless_layout.merge(parts)
    if extraction in ("hidden_states", "saliency"):
        return merge_samples(parts, "number")
    if extraction == "token_logprobs":
        return logprob_layout.merge(parts)
    if extraction == "head_mappings":
        return merge_layers(parts)
    if extraction == "head_ablations":
        return head_ablation_layout.merge(parts)
    joined = {}
    for kind in sorted({name.split(".")[0] for name in parts[0]}):
        named = [{name: part[name] for name in part if name.startswith(f"{kind}.")} for part in parts]
        joined.update(merge_samples(named, f"{kind}.sequence"))
    return joined


def require_one_dtype(documents, files):
    """AtlasError unless the models of all shards ran in one dtype (of their provenance documents)."""
    dtypes = [document.get("runtime", {}).get("dtype") for document in documents]
    if len(set(dtypes)) > 1:
        other = next(index for index, dtype in enumerate(dtypes) if dtype != dtypes[0])
        raise AtlasError(
            f"{files[other]} was computed in {dtypes[other]} and {files[0]} in {dtypes[0]}, on another machine; "
            "name one dtype in the configuration (models.KEY.dtype, analyses.mink.dtype) and run again."
        )


def merge_layers(parts):
    """What one call of head_mappings.map_heads over all the layers of `parts` would have returned."""
    parts = sorted(parts, key=lambda part: part["layers"][0])
    shared = ("heads", "k_max")
    return {
        name: parts[0][name] if name in shared else np.concatenate([part[name] for part in parts]) for name in parts[0]
    }
