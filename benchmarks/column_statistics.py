"""Memory and time of attention column statistics, against a plain forward and the usual `output_attentions` way.

    python benchmarks/column_statistics.py [--tokens 4096] [--layers 8] [--threads 1] [--repeats 3]

A Llama-shaped random model (9 query heads, 3 key/value heads, head width 64) reads one text.  Each variant runs in
its own process:
    plain    SDPA forward, no statistics
    atlas    the same forward with alpha (diagonal included), avg (diagonal left out) and the diagonal, all layers
    eager    stock `output_attentions=True`, the same statistics from the T x T maps
Memory is what tensors hold: freed memory goes back at once, in runs that are not timed.
Writes results/benchmarks/column_statistics.csv and exits non-zero if atlas adds more than 96 MiB to the plain forward
or if its statistics differ from eager's by more than 2e-5 of the largest.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from side_by_side import RETURN_FREED, ROOT, bar_on, child, finish, options, peak_mib, reset_peak, row, timer

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float, Int
    from transformers import PreTrainedModel

BAR_MIB = 96
VARIANTS = ("plain", "atlas", "eager")


def build(layers: int, tokens: int) -> PreTrainedModel:
    """A random Llama of SmolLM2-135M's width and heads."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "llama",
        vocab_size=512,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=layers,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=max(tokens, 2048),
        initializer_range=0.06,
    )
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()


def statistics(weights: Float[torch.Tensor, "1 heads tokens tokens"]) -> tuple[torch.Tensor, ...]:
    """alpha and avg sums and the diagonal of one layer's maps (1, H, T, T), the usual way."""
    diagonal = weights.diagonal(dim1=-2, dim2=-1)
    alpha = weights.sum(-2)
    return alpha, alpha - diagonal, diagonal


def run(
    variant: str, model: PreTrainedModel, ids: Int[torch.Tensor, "1 tokens"]
) -> Float[torch.Tensor, "3 layers heads tokens"] | None:
    """One forward; returns the stacked statistics (3, L, H, T) or None."""
    import torch

    sys.path.insert(0, str(ROOT / "scripts"))
    from atlas.attention import ColumnSum, Plan, attend

    given = {"use_cache": False, "logits_to_keep": 1}
    with torch.no_grad():
        if variant == "plain":
            model(ids, **given)
            return None
        if variant == "eager":
            out = model(ids, output_attentions=True, **given)
            return torch.stack([torch.cat(s) for s in zip(*map(statistics, out.attentions), strict=True)])
        plan = Plan(column_sums={"alpha": ColumnSum(), "avg": ColumnSum(min_distance=1)}, diagonal=True)
        with attend(model, plan) as record:
            model(ids, **given)
        parts = record.column_sums["alpha"], record.column_sums["avg"], record.diagonal
        return torch.stack([torch.cat(list(part.values())) for part in parts])


def variant(arguments: argparse.Namespace) -> None:
    """Run one variant in this process; its statistics are saved, seconds and MiB are printed."""
    import torch

    torch.set_num_threads(arguments.threads)
    model = build(arguments.layers, arguments.tokens).to(arguments.device)
    if arguments.variant == "eager":
        model.set_attn_implementation("eager")
    ids = torch.randint(0, 512, (1, arguments.tokens), generator=torch.Generator().manual_seed(1))
    ids, device, now = ids.to(arguments.device), arguments.device, timer("wall", arguments.device)
    run(arguments.variant, model, ids[:, :64])  # lazy initialisation is not what is measured
    reset_peak(device)
    before, seconds = peak_mib(device), []
    for repeat in range(arguments.repeats):
        start = now()
        found = run(arguments.variant, model, ids)
        seconds.append(now() - start)
        if repeat == 0:
            peak = peak_mib(device)
    if found is not None:
        torch.save(found.cpu(), arguments.save)
    print(json.dumps({"seconds": min(seconds), "peak_mib": peak, "before_mib": before}))


def main() -> int:
    parser = options(__doc__, "column_statistics", model=False, clock=False)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--save", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.variant:
        variant(arguments)
        return 0

    import tempfile

    import torch

    measured, peaks, found = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name in VARIANTS:
            save = Path(folder) / f"{name}.pt"
            given = ["--variant", name, "--save", save]
            for option in ("tokens", "layers", "threads", "repeats", "device"):
                given += [f"--{option}", getattr(arguments, option)]
            measured[name] = child(__file__, given, arguments.threads)
            peaks[name] = child(__file__, [*given, "--repeats", 1], arguments.threads, **RETURN_FREED)["peak_mib"]
            if save.exists():
                found[name] = torch.load(save, weights_only=True)

    added = {name: peak - peaks["plain"] for name, peak in peaks.items()}
    seconds = {name: m["seconds"] for name, m in measured.items()}
    worst = float((found["atlas"] - found["eager"]).abs().max() / found["eager"].abs().max())
    note = (
        f"T = {arguments.tokens}, {arguments.layers} layers, 9 heads, {arguments.threads} thread(s), {arguments.device}"
    )
    most, less, above = (bar_on(arguments.device, bar) for bar in (1.3, 50.0, float(BAR_MIB)))
    both = {"ours_seconds": seconds["atlas"], "published_seconds": seconds["eager"]}
    rows = [
        row("column statistics time against eager", seconds["atlas"] / seconds["eager"], most, most=True, **both,
            floor_seconds=seconds["plain"], agreement=worst, note=f"{note}; floor: the plain forward"),
        row("column statistics memory of eager over ours", added["eager"] / max(added["atlas"], 1.0), less, note=note,
            ours_mib=added["atlas"], published_mib=added["eager"]),
        row("column statistics memory above the plain forward, MiB", added["atlas"], above, most=True),
        row("column statistics difference from eager", worst, 2e-5, most=True),
    ]  # fmt: skip
    return finish(rows, arguments.output)


if __name__ == "__main__":
    sys.exit(main())
