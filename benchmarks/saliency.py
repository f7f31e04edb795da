"""Saliency of question-to-answer flow: this workflow against the usual way, side by side in one run.

    python benchmarks/saliency.py [--model results/models/smollm2-135m-instruct] [--clock cpu]

`eager` is the published way: eager attention in every layer, multiplied by a mask of ones whose gradient is dL/dA, one
forward and backward pass over whole texts without a cache, parameters frozen; S = A * dL/dA is summed over the tokens
of the flows. `atlas` is the workflow's extraction. Both give the same numbers: four flows, every layer and head, for
the logit of a probe on the state after the last layer, so nothing is saved by stopping early. Random ids.

    shared    texts of 1,024 tokens that share all but their last 64; atlas runs the shared part once for all of them
    alone     the same with one text, the shared part counted in full
    whole     one text of 1,024 tokens, all in the graph: the first exact question token is the first token
    batch     texts of 128 tokens in batches of 8, all in the graph

Speed: the variants alternate, seconds are the sum over the texts. Memory: peak over the loaded model of one text (a
batch), each in a process of its own. Writes results/benchmarks/saliency.csv (measure, value, bar, met) and exits
non-zero where a bar is missed.
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
# measure -> (bar, at least or at most)
BARS = {
    "shared_speedup": (4.0, "least"),
    "shared_memory": (0.1, "most"),
    "whole_speedup": (2.0, "least"),
    "whole_memory": (1 / 3, "most"),
    "batch_speedup": (1.3, "least"),
    "difference": (1e-4, "most"),
}
# case -> (tokens, shared tokens, texts, texts at once)
CASES = {"shared": (1024, 960, 8, 1), "alone": (1024, 960, 1, 1), "whole": (1024, 0, 1, 1), "batch": (128, 0, 8, 8)}


def texts(case, vocabulary):
    """([AnsweredSample], shared ids) of a case."""
    import torch

    from atlas.analyses.answered_samples import AnsweredSample

    length, shared, number, _ = CASES[case]
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(5, vocabulary, (number, length), generator=draw)
    ids[:, :shared] = ids[0, :shared]
    sets = (shared, shared + 3, shared + 4), (length - 2, length - 1), (shared, shared + 2, shared + 6)
    return [AnsweredSample(n, tuple(row), *sets) for n, row in enumerate(ids.tolist())], tuple(ids[0, :shared].tolist())


def probe_of(samples, width, layer):
    import numpy as np

    from atlas.analyses.saliency_extraction import SampleProbe

    rng = np.random.default_rng(0)
    return SampleProbe(
        layer, rng.normal(size=(len(samples), width)).astype(np.float32) / 30, np.zeros(len(samples), np.float32)
    )


def atlas(model, samples, shared, probe, at_once):
    """(texts, layers, flows, heads) signed sums."""
    from atlas.analyses.saliency_extraction import extract

    budget = at_once * (len(samples[0].ids) - len(shared))
    arrays = extract(model, samples, shared, losses=["probe_logit"], sample_probe=probe, batch_tokens=budget)
    return arrays["probe_logit.signed"]


def eager(model, samples, shared, probe, at_once):
    """The same by masks of ones on stock eager attention."""
    import numpy as np
    import torch
    from transformers.models.llama import modeling_llama

    from atlas.attention import decoder_layers

    kept, state = [], {}

    def attention(module, query, key, value, mask, scaling, **options):
        key = modeling_llama.repeat_kv(key, module.num_key_value_groups)
        value = modeling_llama.repeat_kv(value, module.num_key_value_groups)
        scores = torch.matmul(query, key.transpose(2, 3)) * scaling + mask
        weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
        ones = torch.ones_like(weights, requires_grad=True)
        kept.append((weights, ones))
        return torch.matmul(weights * ones, value).transpose(1, 2).contiguous(), None

    own, found = modeling_llama.eager_attention_forward, []
    modeling_llama.eager_attention_forward = attention
    model.set_attn_implementation("eager")
    handle = decoder_layers(model)[probe.layer - 1].register_forward_hook(
        lambda module, args, output: state.update(h=output[0] if isinstance(output, tuple) else output)
    )
    try:
        for start in range(0, len(samples), at_once):
            part = samples[start : start + at_once]
            kept.clear()
            model.base_model(input_ids=torch.tensor([sample.ids for sample in part]), use_cache=False)
            (state["h"][:, -1] * torch.from_numpy(probe.weight[start : start + at_once])).sum().backward()
            found.append(np.stack([_flows(weights, ones, part) for weights, ones in kept], 1))
    finally:
        handle.remove()
        modeling_llama.eager_attention_forward = own
        model.set_attn_implementation("sdpa")
    return np.concatenate(found)


def _flows(weights, ones, samples):
    """(texts, flows, heads) of one layer."""
    import torch

    s, sample = weights.detach() * ones.grad, samples[0]
    flows = []
    for columns in (sample.question, sample.random):
        picked = torch.stack([s[..., column].masked_fill(torch.arange(s.shape[2]) <= column, 0) for column in columns])
        picked = picked.sum(0)
        flows += [picked[..., list(sample.answer)].sum(-1), picked.sum(-1)]
    return torch.stack(flows, 1).numpy()


VARIANTS = {"atlas": atlas, "eager": eager}


def load(arguments):
    import torch

    from atlas.models.loading import load_model

    torch.set_num_threads(arguments.threads)
    model = load_model(arguments.model, device="cpu", dtype="float32")
    return model, model.config.num_hidden_layers, model.config.hidden_size


def speed(arguments):
    import numpy as np

    model, layers, width = load(arguments)
    clock = time.process_time if arguments.clock == "cpu" else time.perf_counter
    measured, worst = {}, 0.0
    for case, (_, _, _, at_once) in CASES.items():
        samples, shared = texts(case, model.config.vocab_size)
        probe = probe_of(samples, width, layers)
        seconds = dict.fromkeys(VARIANTS, 0.0)
        for turn in range(arguments.repeats):
            found = {}
            for name in list(VARIANTS)[:: 1 if turn % 2 else -1]:
                begin = clock()
                found[name] = VARIANTS[name](model, samples, shared, probe, at_once)
                seconds[name] += clock() - begin
        worst = max(worst, float(np.abs(found["atlas"] - found["eager"]).max() / np.abs(found["eager"]).max()))
        measured.update({f"{case}_seconds_{name}": value for name, value in seconds.items()})
        measured[f"{case}_speedup"] = seconds["eager"] / seconds["atlas"]
        print(f"{case}: {measured[f'{case}_speedup']:.2f} times as fast", flush=True)
    return {**measured, "difference": worst}


def memory_child(arguments):
    """Peak resident memory above the loaded model, in MiB, of one text or batch."""
    from column_statistics import peak_mib, reset_peak

    model, layers, width = load(arguments)
    run = VARIANTS[arguments.variant]
    samples, _ = texts("batch", model.config.vocab_size)
    run(model, samples[:1], (), probe_of(samples[:1], width, layers), 1)  # weights are mapped, buffers are made
    samples, shared = texts(arguments.case, model.config.vocab_size)
    at_once = CASES[arguments.case][3]
    samples = samples[:at_once]
    probe = probe_of(samples, width, layers)
    reset_peak()
    before = peak_mib()
    run(model, samples, shared, probe, at_once)
    print(json.dumps({"added": peak_mib() - before}))


def memory(arguments):
    found = {}
    environment = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads), "OMP_WAIT_POLICY": "PASSIVE"}
    for case in ("shared", "whole", "batch"):
        for variant in VARIANTS:
            command = [sys.executable, __file__, "--variant", variant, "--case", case, "--model", str(arguments.model)]
            done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
            if done.returncode:
                raise SystemExit(done.stderr)
            found[f"{case}_mib_{variant}"] = json.loads(done.stdout.splitlines()[-1])["added"]
        found[f"{case}_memory"] = found[f"{case}_mib_atlas"] / found[f"{case}_mib_eager"]
        print(f"{case}: {found[f'{case}_memory']:.3f} of the memory", flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "results/models/smollm2-135m-instruct")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--clock", choices=["wall", "cpu"], default="wall", help="cpu: for a machine that others use too"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "results/benchmarks/saliency.csv")
    parser.add_argument("--variant", choices=list(VARIANTS), help=argparse.SUPPRESS)
    parser.add_argument("--case", choices=list(CASES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.variant:
        memory_child(arguments)
        return 0
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    measured = {**memory(arguments), **speed(arguments)}
    rows = []
    for measure, value in measured.items():
        bar, sense = BARS.get(measure, ("", ""))
        met = "" if bar == "" else (value >= bar if sense == "least" else value <= bar)
        rows.append({"measure": measure, "value": f"{value:.6g}", "bar": bar and f"{bar:.4g}", "met": met})
        print(f"{measure:24} {value:12.5g}  {'' if bar == '' else f'bar {bar:.3g}: ' + ('met' if met else 'MISSED')}")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    temporary = arguments.output.with_suffix(".tmp")
    with temporary.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(temporary, arguments.output)
    return 0 if all(row["met"] in ("", True) for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
