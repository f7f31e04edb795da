"""Three tiny models that a person compares: GPT-2 without template, one that needs `<s>`, one that refuses in chat."""

import json
import shutil
from pathlib import Path

import torch
import yaml
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from families import build
from places import ROOT
from tiny_models import save_tokenizer

LABELS = {
    "base": "Plain base model, of a name that has no end (dequantised)",
    "begins": "Model that begins with <s>",
    "chat": "Chat model",
}
OTHER_K = 12  # of the model that begins with a token; the others have 5
REFUSAL = 17 + 3  # the id of w17, behind three special tokens
PHRASES = "tiny/refusals.txt"


def make_three(project):
    """Put the three models below tiny/ and into configs/tiny.yaml of `project`, in place of its own."""
    folder = project.folder / "tiny"
    _save(build("gpt2", seed=1), folder / "base", template=None)
    _save(_sinks_at_the_beginning(build("gemma", seed=2)), folder / "begins", template=None, begin=True)
    _save(
        _refusing(build("qwen2", seed=3)),
        folder / "chat",
        template="{% for m in messages %}w1 {{ m['content'] }} w2 {% endfor %}",
    )
    shutil.rmtree(folder / "model")
    project.write(PHRASES, "w17\n")
    questions = [json.loads(line) for line in (folder / "trivia.jsonl").read_text().splitlines()]
    for number, question in enumerate(questions):  # enough right and wrong answers of each model for a probe
        question["answers"] += [f"w{(7 * number + step) % 196}" for step in range(20)]
        question["answers"] += ["w17"] if number % 2 else []
    project.write("tiny/trivia.jsonl", "".join(json.dumps(question) + "\n" for question in questions))

    published = yaml.safe_load((ROOT / "configs" / "paper.yaml").read_text())["models"]["gpt2-xl"]["source"]["hub"][
        "repo"
    ]

    def change(config):
        config["models"] = {"smollm2-135m-instruct": None, "smollm2-135m-shuffled": None} | {
            key: {"label": label, "source": {"path": f"tiny/{key}"}, "parameters": 100000}
            for key, label in LABELS.items()
        }
        # transformers takes its own class for this family, whose rules find no word of the tiny vocabulary.
        config["models"]["chat"]["tokenizer"] = "file"
        config["models"]["base"].update(published_as=published, family="Any")
        config["models"]["begins"]["options"] = {"head_categories": {"first_mlp": False, "k": {"default": OTHER_K}}}
        config["analyses"]["ablation_effect"].update(phrases=PHRASES)
        config["analyses"]["membership"].update(reference="base")

    project.configure(change)


def _save(model, folder: Path, template, begin=False):
    save_tokenizer(folder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.chat_template = template
    if begin:
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    shutil.rmtree(folder)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@torch.no_grad()
def _sinks_at_the_beginning(model):
    """Every query reads a constant that all tokens carry, every key one that `<s>` alone carries."""
    embedding = model.get_input_embeddings().weight
    embedding[:, :2] = 0
    embedding[:, 0] = 2
    embedding[1, 1] = 6
    for layer in model.model.layers:
        attention, width = layer.self_attn, layer.self_attn.head_dim
        for matrix, column in ((attention.q_proj, 0), (attention.k_proj, 1)):
            matrix.weight[:, :2] = 0
            matrix.weight[width - 1 :: width, column] = 0.65  # the last pair of the rotation turns slowest
        for matrix in (attention.o_proj, layer.mlp.down_proj):
            matrix.weight[:2] = 0
    return model


@torch.no_grad()
def _refusing(model):
    """The logit of w17 gets a constant that all tokens carry: it is said after some prompts and not after others."""
    model.get_input_embeddings().weight[:, 0] = 3
    for layer in model.model.layers:
        for matrix in (layer.self_attn.o_proj, layer.mlp.down_proj):
            matrix.weight[0] = 0
    model.lm_head.weight[:, 0] = 0
    model.lm_head.weight[REFUSAL, 0] = 5.6
    return model
