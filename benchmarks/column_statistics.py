"""Memory and time of attention column statistics, against a plain forward and the usual `output_attentions` way.

    python benchmarks/column_statistics.py [--tokens 4096] [--layers 8] [--threads 1] [--repeats 3]

A Llama-shaped random model (9 query heads, 3 key/value heads, head width 64) reads one text.  Each variant runs in
its own process:
    plain    SDPA forward, no statistics
    atlas    the same forward with alpha (diagonal included), avg (diagonal left out) and the diagonal, all layers
    eager    stock `output_attentions=True`, the same statistics from the T x T maps
Writes results/benchmarks/column_statistics.csv and exits non-zero if atlas adds more than 96 MiB to the plain forward
or if its statistics differ from eager's by more than 2e-5 of the largest.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BAR_MIB = 96
VARIANTS = ("plain", "atlas", "eager")


def peak_mib():
    """Highest resident memory since `reset_peak`, in MiB."""
    import resource

    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def reset_peak():
    """Forget the peak of imports and model building where the kernel allows it (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        print("cannot reset the peak: it includes imports and model building", file=sys.stderr)


def build(layers, tokens):
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


def statistics(weights):
    """alpha and avg sums and the diagonal of one layer's maps (1, H, T, T), the usual way."""
    diagonal = weights.diagonal(dim1=-2, dim2=-1)
    alpha = weights.sum(-2)
    return alpha, alpha - diagonal, diagonal


def run(variant, model, ids):
    """One forward; returns the stacked statistics (3, L, H, T) or None."""
    import torch

    sys.path.insert(0, str(ROOT / "scripts"))
    from atlas.attention import ColumnSum, Plan, probe

    options = {"use_cache": False, "logits_to_keep": 1}
    with torch.no_grad():
        if variant == "plain":
            model(ids, **options)
            return None
        if variant == "eager":
            out = model(ids, output_attentions=True, **options)
            return torch.stack([torch.cat(s) for s in zip(*map(statistics, out.attentions), strict=True)])
        plan = Plan(column_sums={"alpha": ColumnSum(), "avg": ColumnSum(min_distance=1)}, diagonal=True)
        with probe(model, plan) as record:
            model(ids, **options)
        parts = record.column_sums["alpha"], record.column_sums["avg"], record.diagonal
        return torch.stack([torch.cat(list(part.values())) for part in parts])


def child(arguments):
    import torch

    torch.set_num_threads(arguments.threads)
    model = build(arguments.layers, arguments.tokens)
    if arguments.variant == "eager":
        model.set_attn_implementation("eager")
    ids = torch.randint(0, 512, (1, arguments.tokens), generator=torch.Generator().manual_seed(1))
    run(arguments.variant, model, ids[:, :64])  # lazy initialisation is not what is measured
    reset_peak()
    before, seconds = peak_mib(), []
    for repeat in range(arguments.repeats):
        start = time.perf_counter()
        found = run(arguments.variant, model, ids)
        seconds.append(time.perf_counter() - start)
        if repeat == 0:
            peak = peak_mib()
    if found is not None:
        torch.save(found, arguments.save)
    print(json.dumps({"seconds": min(seconds), "peak_mib": peak, "before_mib": before}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--output", type=Path, default=ROOT / "results/benchmarks/column_statistics.csv")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--save", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.variant:
        child(arguments)
        return 0

    import tempfile

    import torch

    environment = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads), "OMP_WAIT_POLICY": "PASSIVE"}
    measured, found = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for variant in VARIANTS:
            save = Path(folder) / f"{variant}.pt"
            command = [sys.executable, __file__, "--variant", variant, "--save", str(save)]
            for option in ("tokens", "layers", "threads", "repeats"):
                command += [f"--{option}", str(getattr(arguments, option))]
            done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
            if done.returncode:
                print(done.stderr, file=sys.stderr)
                return 1
            measured[variant] = json.loads(done.stdout.splitlines()[-1])
            if save.exists():
                found[variant] = torch.load(save, weights_only=True)

    plain = measured["plain"]
    print(f"{arguments.layers} layers x 9 heads (3 key/value), T = {arguments.tokens}, {arguments.threads} thread(s)")
    print(f"{'variant':8} {'seconds':>9} {'x plain':>8} {'x eager':>8} {'peak MiB':>9} {'added MiB':>10}")
    rows = []
    for variant, m in measured.items():
        row = {
            "variant": variant,
            "tokens": arguments.tokens,
            "layers": arguments.layers,
            "threads": arguments.threads,
            "seconds": round(m["seconds"], 3),
            "over_plain": round(m["seconds"] / plain["seconds"], 3),
            "over_eager": round(m["seconds"] / measured["eager"]["seconds"], 3),
            "peak_mib": round(m["peak_mib"], 1),
            "added_mib": round(m["peak_mib"] - plain["peak_mib"], 1),
        }
        rows.append(row)
        print(
            f"{variant:8} {row['seconds']:9.2f} {row['over_plain']:8.2f} {row['over_eager']:8.2f} "
            f"{row['peak_mib']:9.0f} {row['added_mib']:10.1f}"
        )
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    temporary = arguments.output.with_suffix(".tmp")
    with temporary.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(temporary, arguments.output)

    added = rows[1]["added_mib"]
    worst = float((found["atlas"] - found["eager"]).abs().max() / found["eager"].abs().max())
    ratio = rows[1]["over_eager"]
    print(f"atlas adds {added:.1f} MiB (bar {BAR_MIB}), takes {ratio:.2f} x eager, differs from it by {worst:.1e}")
    return 0 if added <= BAR_MIB and worst <= 2e-5 else 1


if __name__ == "__main__":
    sys.exit(main())
