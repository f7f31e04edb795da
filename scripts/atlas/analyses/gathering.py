"""How the shards of each extraction are joined."""

from atlas.analyses import head_ablation_layout, meaningless_layout
from atlas.analyses.shards import merge_samples


def gather(extraction, parts):
    """One {name: array} from those of all shards; the same bytes for any number of shards."""
    if extraction == "attention":
        return meaningless_layout.merge(parts)
    if extraction == "head_ablations":
        return head_ablation_layout.merge(parts)
    joined = {}
    for kind in sorted({name.split(".")[0] for name in parts[0]}):
        named = [{name: part[name] for name in part if name.startswith(f"{kind}.")} for part in parts]
        joined.update(merge_samples(named, f"{kind}.sequence"))
    return joined
