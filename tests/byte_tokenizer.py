"""A tokenizer of bytes in which one merge can cross the border between two pieces of a text."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from atlas.data.chat import ChatSettings, Prompter

CHAT = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def tokenizer(bos=False, eos=False, template=CHAT):
    """A byte-level tokenizer whose `m y` merge can cross the border between two pieces."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    specials = ["<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
    vocabulary = {token: i for i, token in enumerate([*specials, *alphabet, "iy"])}
    inner = Tokenizer(models.BPE(vocabulary, [("i", "y")]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    front, back = "<s> " * bos, " </s>" * eos
    inner.post_processor = processors.TemplateProcessing(
        single=f"{front}$A{back}", special_tokens=[("<s>", vocabulary["<s>"]), ("</s>", vocabulary["</s>"])]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", additional_special_tokens=specials[2:]
    )
    fast.chat_template = template
    return fast


def prompter(tokens, date="2024-07-26", **kwargs):
    """What analyses are given: a tokenizer, and how its chat template is rendered."""
    return Prompter(tokens, "m", ChatSettings(date, kwargs))
