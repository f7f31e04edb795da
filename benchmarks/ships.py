"""Time and memory of a Ships pass over all heads, against the published algorithm and against simple batching.

    python benchmarks/ships.py [--model results/models/smollm2-135m-instruct] [--prompts 16] [--threads 1] [--rounds 3]

One ablation (scaling by 1e-5), all heads, the first prompts of results/datasets/harmbench.parquet:
    published    one full forward with LM head per (head, prompt) at batch 1, as the published code does
    batched      the best simple batching: full forwards of many (head, prompt) pairs of equal length, no padding, LM
                 head for the last token only, nothing shared
    atlas        ours: one clean pass, each head continued from its layer
    atlas_bf16   ours with the weights in bfloat16
Published and batched take the same time for every head, so they run a sample of heads and layers; ours runs every third
layer, whose mean depth is that of all layers. The variants take turns in every round, so that a busy machine slows all
of them. Then ours runs all heads in both types, which gives the accuracy of bfloat16, and small jobs of their own give
the peak memory by `max_rows`. Writes results/benchmarks/ships.csv; exits non-zero if a bar is missed.
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
sys.path.insert(0, str(ROOT / "scripts"))
TEMPLATE = "## Query:{q}\n## Answer:"
BARS = {"atlas over published": 4.0, "atlas over batched": 1.6, "atlas_bf16 over published": 10.0}


def load(arguments, dtype):
    from atlas.data.queries import build_queries
    from atlas.files import read_frame
    from atlas.models.loading import load_model, load_tokenizer

    rows = read_frame(arguments.dataset).head(arguments.prompts)
    prompts, _ = build_queries(load_tokenizer(arguments.model), rows, TEMPLATE, None, "template")
    return load_model(arguments.model, dtype=dtype), prompts


def scale_head(module, heads):
    """A hook on the output projection: row r of the batch has head heads[r] scaled by 1e-5."""
    import torch

    number = module.number_of_heads
    factors = torch.ones(len(heads), number)
    factors[range(len(heads)), heads] = 1e-5
    width = module.in_features // number
    factors = factors.repeat_interleave(width, 1)[:, None].to(module.weight.dtype)
    return module.register_forward_pre_hook(lambda _, args: (args[0] * factors,))


def projection(model, layer):
    from atlas.models.architectures import attention_modules, output_projection

    module = output_projection(attention_modules(model)[layer])
    module.number_of_heads = model.config.num_attention_heads
    return module


def published(model, prompts, pairs):
    import torch

    for layer, head in pairs:
        handle = scale_head(projection(model, layer), [head])
        for prompt in prompts:
            model(torch.tensor([prompt]), use_cache=False).logits[0, -1].log_softmax(-1)
        handle.remove()
    return len(pairs)


def batched(model, prompts, layer, rows):
    import torch

    heads = range(model.config.num_attention_heads)
    lengths = {}
    for prompt in prompts:
        lengths.setdefault(len(prompt), []).append(prompt)
    for group in lengths.values():
        pairs = [(head, prompt) for head in heads for prompt in group]
        for start in range(0, len(pairs), rows):
            part = pairs[start : start + rows]
            handle = scale_head(projection(model, layer), [head for head, _ in part])
            ids = torch.tensor([prompt for _, prompt in part])
            model(ids, use_cache=False, logits_to_keep=1).logits[:, -1].log_softmax(-1)
            handle.remove()
    return len(heads)


def compare(arguments):
    """Seconds per head of each variant, wall and CPU, one list entry per round."""
    import torch

    from atlas.analyses.head_ablation import HeadAblation

    model, prompts = load(arguments, "float32")
    half, _ = load(arguments, "bfloat16")
    layers = model.config.num_hidden_layers
    heads = model.config.num_attention_heads
    depth = list(range(1, layers, 3))
    clean = {}
    seconds = {name: [] for name in ("published", "batched", "atlas", "atlas_bf16")}

    def ours(name, net):
        if name not in clean:
            start = time.perf_counter(), time.process_time()
            clean[name] = HeadAblation(net, prompts, depth, epsilon=1e-5, max_rows=arguments.max_rows)
            used = time.perf_counter() - start[0], time.process_time() - start[1]
            clean[name, "seconds"] = tuple(x / (layers * heads) for x in used)
        for layer in depth:
            clean[name].effects("scaling", [[(layer, head)] for head in range(heads)])
        return heads * len(depth)

    variants = {
        "published": lambda: published(model, prompts, [(i * 7 % layers, i % heads) for i in range(arguments.sample)]),
        "batched": lambda: batched(model, prompts, layers // 2, arguments.rows),
        "atlas": lambda: ours("atlas", model),
        "atlas_bf16": lambda: ours("atlas_bf16", half),
    }
    with torch.no_grad():
        published(model, prompts[:2], [(0, 0)])
        ours("atlas", model), ours("atlas_bf16", half)
        for number in range(arguments.rounds):
            for name, run in variants.items():
                wall, cpu = time.perf_counter(), time.process_time()
                done = run()
                extra = clean.get((name, "seconds"), (0.0, 0.0))
                seconds[name].append(
                    ((time.perf_counter() - wall) / done + extra[0], (time.process_time() - cpu) / done + extra[1])
                )
                total = layers * heads
                print(f"round {number} {name:11} {total * seconds[name][-1][0]:8.1f} s wall for all heads", flush=True)
    return seconds, layers * heads


def accuracy(arguments):
    """What bfloat16 loses: differences in degrees and shared heads among the ten strongest, both ablations."""
    import numpy as np

    from atlas.analyses.head_ablation import extract
    from atlas.analyses.ships import ships

    found = {}
    for dtype in ("float32", "bfloat16"):
        model, prompts = load(arguments, dtype)
        start = time.perf_counter()
        found[dtype] = extract(
            model, prompts, ablations=["undifferentiated", "scaling"], epsilon=1e-5, shards=arguments.every
        )
        print(
            f"every {arguments.every}. layer, both ablations, {dtype}: {time.perf_counter() - start:.1f} s", flush=True
        )
    for ablation in ("undifferentiated", "scaling"):
        for rank in (1, 3):
            a, b = (ships(f["clean.gram"], f[f"{ablation}.gram"], rank).ravel() for f in found.values())
            top = [set(np.argsort(-x)[:10].tolist()) for x in (a, b)]
            difference = np.abs(a - b)
            yield {
                "measure": f"bfloat16 accuracy, {ablation}, R = {rank}",
                "median_degrees": round(float(np.median(difference)), 4),
                "worst_degrees": round(float(difference.max()), 4),
                "largest_score": round(float(a.max()), 4),
                "top10_shared": len(top[0] & top[1]),
            }


def peak(arguments):
    """Peak memory in MiB over one layer of all heads, in this process."""
    import torch

    from atlas.analyses.head_ablation import HeadAblation

    model, prompts = load(arguments, "float32")
    model(input_ids=torch.tensor(prompts[:1]), use_cache=False, logits_to_keep=1)  # the weights are mapped: touch them
    before = high_water(reset=True)
    ablation = HeadAblation(model, prompts, [0], epsilon=1e-5, max_rows=arguments.max_rows)
    ablation.effects("scaling", [[(0, head)] for head in range(model.config.num_attention_heads)])
    print(json.dumps({"rows": ablation.max_rows, "before": before, "peak": high_water()}))


def high_water(reset=False):
    """Highest resident memory in MiB since the last reset (Linux; elsewhere since the start)."""
    import resource

    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "results/models/smollm2-135m-instruct")
    parser.add_argument("--dataset", type=Path, default=ROOT / "results/datasets/harmbench.parquet")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sample", type=int, default=3, help="heads that the published way runs per round")
    parser.add_argument("--rows", type=int, default=32, help="(head, prompt) pairs of one simple batch")
    parser.add_argument("--max-rows", type=int, default=None)
    parser.add_argument("--every", type=int, default=1, help="layers that the accuracy of bfloat16 is measured on")
    parser.add_argument("--skip-accuracy", action="store_true")
    parser.add_argument("--only-accuracy", action="store_true")
    parser.add_argument("--output", type=Path, default=ROOT / "results/benchmarks/ships.csv")
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    torch.set_num_threads(arguments.threads)
    if arguments.peak:
        peak(arguments)
        return 0

    if arguments.only_accuracy:
        for row in accuracy(arguments):
            print(row)
        return 0

    seconds, heads = compare(arguments)
    median = {name: [sorted(x[i] for x in runs)[len(runs) // 2] for i in (0, 1)] for name, runs in seconds.items()}
    rows, failed = [], []
    for name, (wall, cpu) in median.items():
        rows.append({"measure": name, "seconds": round(wall * heads, 1), "cpu_seconds": round(cpu * heads, 1)})
        print(f"{name:11} {wall * heads:8.1f} s wall, {cpu * heads:8.1f} s CPU for {heads} heads")
    for measure, bar in BARS.items():
        ours, other = measure.split(" over ")
        ratio = median[other][0] / median[ours][0]
        rows.append({"measure": measure, "ratio": round(ratio, 2), "bar": bar})
        print(f"{measure}: {ratio:.2f} times faster (bar {bar}), by CPU time {median[other][1] / median[ours][1]:.2f}")
        if ratio < bar:
            failed.append(measure)
    for setting in (16, 64, None):
        command = [sys.executable, __file__, "--peak", "--model", arguments.model, "--dataset", arguments.dataset]
        command += [] if setting is None else ["--max-rows", setting]
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        added = found["peak"] - found["before"]
        rows.append({"measure": f"memory above the model, max_rows {setting or 'auto'}", "added_mib": round(added, 1)})
        print(f"max_rows {found['rows']}: {added:.0f} MiB above the loaded model")
    for row in () if arguments.skip_accuracy else accuracy(arguments):
        rows.append(row)
        print(row)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    temporary = arguments.output.with_suffix(".tmp")
    with temporary.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(temporary, arguments.output)
    if failed:
        print(f"bars missed: {', '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
