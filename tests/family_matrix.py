"""Which analyses run on which model types, and whether their numbers are the stock model's: `make families`.

Each type that transformers lists is made tiny (tiny_families.yaml), saved, loaded as the workflow loads it, and given
to every analysis in a process of its own. Prints a line per type and writes JSON; `--write` also docs/models.md.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import torch
import transformers
from transformers import PreTrainedTokenizerFast

import any_family
from atlas.errors import AtlasError
from atlas.models.loading import load_model
from family_analyses import ANALYSES, MAPPINGS, Different, mappings
from family_page import EQUAL, OPEN, REFUSED, page
from stock_model import Unknown
from tiny_models import save_tokenizer

TRACEBACK, WRONG = "traceback", "wrong number"
SECONDS = 900


def outcome(run):
    """(outcome, what was said) of one analysis."""
    try:
        run()
    except AtlasError as error:
        return REFUSED, str(error)
    except Different as error:
        return WRONG, str(error)
    except Unknown as error:
        return OPEN, str(error)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return (
            TRACEBACK,
            f"{type(error).__name__}: {str(error).splitlines()[:1]} ({Path(last.filename).name}:{last.lineno})",
        )
    return EQUAL, ""


def row(kind, only=None):
    """{analysis: (outcome, what was said)} of one model type; {"": (outcome, reason)} where it cannot be built."""
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            reference = any_family.build(kind)
            with torch.no_grad():
                finite = torch.isfinite(reference(input_ids=torch.tensor([[5, 6, 7]]), use_cache=False).logits).all()
            if not finite:
                raise any_family.NotTiny("logits are not finite with random weights")
            reference.save_pretrained(folder)
            save_tokenizer(folder)
            # Some classes change a row of their weights as they load.
            reference = type(reference).from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
            reference.requires_grad_(False)
            words = PreTrainedTokenizerFast.from_pretrained(folder)
        except Exception as error:
            return {"": ("not built", f"{type(error).__name__}: {str(error)[:200]}")}
        names = [*ANALYSES, *MAPPINGS] if only is None else only
        loaded = {}
        said = outcome(lambda: loaded.update(model=load_model(folder, dtype="float32", device="cpu")))
        found = {}
        for name in names:
            if name in MAPPINGS:
                found[name] = outcome(lambda name=name: mappings(folder, reference, MAPPINGS[name]))
            elif "model" not in loaded:
                found[name] = said
            else:
                run = ANALYSES[name]
                found[name] = outcome(lambda run=run: run(loaded["model"], reference, words))
        if any_family.listed().get(kind) in ("encoder", "part"):  # equal or not, it is no decoder's number
            found = {name: (WRONG if what == EQUAL else what, said) for name, (what, said) in found.items()}
        return found


def _child(kind, only, pipe):
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 2)
    pipe.send(row(kind, only))


def rows(kinds, only=None, seconds=SECONDS):
    """(type, row, seconds) of each type, each in a process of its own."""
    context = multiprocessing.get_context("fork")
    for kind in kinds:
        mine, theirs = context.Pipe(duplex=False)
        start = time.monotonic()
        child = context.Process(target=_child, args=(kind, only, theirs))
        child.start()
        theirs.close()
        try:
            found = mine.recv() if mine.poll(seconds) else {"": (TRACEBACK, f"not done in {seconds} s")}
        except EOFError:
            found = {"": (TRACEBACK, "the process died")}
        child.kill()
        child.join()
        yield kind, found, time.monotonic() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("types", nargs="*", help="model types (default: all)")
    parser.add_argument("--json", type=Path, help="write the matrix to this file, over what it holds of other types")
    parser.add_argument("--only", action="append", help="only this analysis (or several); --json keeps the others")
    parser.add_argument("--write", type=Path, help="write the matrix of --json as a page")
    options = parser.parse_args()
    kinds = any_family.listed()
    found = json.loads(options.json.read_text())["types"] if options.json and options.json.exists() else {}
    for kind, one, took in rows(options.types or list(kinds), options.only):
        before = found.get(kind, {}).get("row", {}) if options.only else {}
        found[kind] = {"kind": kinds.get(kind, "decoder"), "row": {**before, **one}}
        short = " ".join({EQUAL: "=", REFUSED: "r", TRACEBACK: "T", WRONG: "W"}.get(o, "-") for o, _ in one.values())
        print(f"{kind:28} {short}  {took:.1f} s", flush=True)
        for name, (what, said) in one.items():
            if what not in (EQUAL, REFUSED):
                print(f"    {name}: {what}: {said[:200]}", flush=True)
        if options.json:
            options.json.write_text(json.dumps(_document(found), indent=1) + "\n")
    if options.write:
        options.write.write_text(page(_document(found)))


def _document(found):
    return {"transformers": transformers.__version__, "torch": torch.__version__, "types": found}


if __name__ == "__main__":
    main()
