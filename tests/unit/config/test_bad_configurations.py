"""Each kind of bad configuration is told in clear sentences."""

import pytest

from atlas.config import checked
from atlas.errors import AtlasError
from configurations import overlaid
from make_tiny import make
from places import ROOT

SHA = "0" * 64
TINY = ROOT / "configs" / "tiny.yaml"
PAPER = ROOT / "configs" / "paper.yaml"
PINNED = ROOT / "configs" / "paper_pinned.yaml"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the schema and with all that configs/tiny.yaml names."""
    folder = tmp_path_factory.mktemp("place")
    for part in ("schemas", "data"):
        (folder / part).symlink_to(ROOT / part)
    make(folder / "tiny")
    return folder


# what is wrong -> (configuration merged over configs/tiny.yaml, words that the message must hold)
CONFIGS = {
    "unknown top-level key": ("modls: {}", ["modls", "did you mean 'models'"]),
    "unknown analysis": ("analyses: {sink: {dataset: passages}}", ["sink", "did you mean 'sinks'"]),
    "unknown option": ("analyses: {sinks: {epsilonn: 0.2}}", ["analyses.sinks", "epsilonn", "did you mean 'epsilon'"]),
    "unknown key of a model": ("models: {tiny: {lable: x}}", ["models.tiny", "lable", "did you mean 'label'"]),
    "wrong type": ("analyses: {sinks: {length: many}}", ["analyses.sinks.length", "'many'", "whole number"]),
    "number as text": (
        "analyses: {sinks: {epsilon: '0.3'}}",
        ["analyses.sinks.epsilon", "'0.3' is not a number; write it without quotation marks"],
    ),
    "number that YAML takes for text": (
        "analyses: {safety_heads: {epsilon: 1e-5}}",
        ["analyses.safety_heads.epsilon: '1e-5' is not a number; write 1.0e-05"],
    ),
    "number that is none": (
        "analyses: {sinks: {epsilon: .nan}}",
        ["analyses.sinks.epsilon: nan is not a finite number"],
    ),
    "infinite limit of a figure": (
        "figures: {sink_rates: {ylim: [0, .inf]}}",
        ["figures.sink_rates.ylim", "inf is not a finite number"],
    ),
    "whole number with a point": (
        "analyses: {sinks: {shards: 2.0}}",
        ["analyses.sinks.shards: 2.0 is not a whole number; write 2."],
    ),
    "position beyond a sequence": (
        "analyses: {sinks: {length: 16, positions: [0, 15, 16]}}",
        ["analyses.sinks.positions: sequences of 16 tokens have positions 0 to 15, and no 16; take it out, or raise"],
    ),
    "shards without end": ("analyses: {sinks: {shards: 100000000}}", ["analyses.sinks.shards", "at most 10000"]),
    "more than can be counted": ("analyses: {sinks: {length: 10000000000}}", ["sinks.length", "at most 1000000000"]),
    "draws without end": ("analyses: {heads: {bootstrap: 2000000}}", ["heads.bootstrap", "at most 1000000"]),
    "file that leads out of its folder": (
        "datasets: {out: {kind: text, source: {url: {url: 'https://a.b/x', file: ../../victim.jsonl, sha256: '"
        + "0" * 64
        + "'}}}}",
        ["datasets.out.source: '../../victim.jsonl' is no plain path"],
    ),
    "mirror that leads out of its folder": (
        "datasets: {out: {kind: text, source: [{hub: {repo: a/b, files: {/etc/x.jsonl: '"
        + "0" * 64
        + "'}}}, {path: config.yaml}]}}",
        ["datasets.out.source.0: '/etc/x.jsonl' is no plain path"],
    ),
    "line break behind a day": (r'chat_date: "2024-07-26\n"', ["chat_date", "is not a date"]),
    "keys that are numbers": ("models: {1: {source: {path: x}}}", ["models: the key 1 is no text for YAML"]),
    "key that is false": ("models: {no: {source: {path: x}}}", ["models: the key False is no text for YAML"]),
    "key that cannot be seen": (r'datasets: {"a\n": {}}', [r"datasets: the key 'a\n' holds signs"]),
    "sections that are lists": ("figures: [{a: 1}]", ["figures: [{'a': 1}] is not a mapping"]),
    "number beyond all measure": ("analyses: {safety_heads: {epsilon: 1.0e+300}}", ["at most 1000000000000000"]),
    "whole number beyond all floats": (
        f"analyses: {{safety_heads: {{epsilon: 1{'0' * 400}}}}}",
        ["analyses.safety_heads.epsilon", "out of range"],
    ),
    "a part of a split": (
        f"datasets: {{other: {{kind: text, source: {{hub: {{repo: a/b, revision: '{'0' * 40}', "
        "split: 'train[:10]'}}}}",
        ["datasets.other.source.hub.split: 'train[:10]' is a part of a split", "give split: train", "limit", "sample"],
    ),
    "several splits": (
        f"datasets: {{other: {{kind: text, source: {{hub: {{repo: a/b, revision: '{'0' * 40}', "
        "split: train+test}}}}",
        ["datasets.other.source.hub.split: 'train+test' is several splits", "split: train alone", "patterns"],
    ),
    "more salient tokens than are kept": (
        "{figures: {explorer: {salient: 11}}, analyses: {head_categories: {salient_tokens: 10, salient_mapped: 20}}}",
        ["figures.explorer.salient: 11 tokens", "analyses.head_categories.salient_tokens keeps 10"],
    ),
    "salient tokens of which none is kept": (
        "{figures: {explorer: {salient: 4}}, analyses: {head_categories: {salient_tokens: 0}}}",
        ["figures.explorer.salient: 4 tokens are to be listed, but none is kept of tiny, tiny-shuffled: analyses."],
    ),
    "more than each salient token is mapped to": (
        "{figures: {explorer: {salient: 11}}, analyses: {head_categories: {salient_tokens: 20, salient_mapped: 10}}}",
        ["figures.explorer.salient: 11 tokens that each is", "analyses.head_categories.salient_mapped keeps 10"],
    ),
    "larger groups than candidates": (
        "analyses: {head_groups: {size: 5, candidates: 4}}",
        ["analyses.head_groups.size: groups of 5 heads cannot be made of candidates: 4"],
    ),
    "negative size": ("analyses: {sinks: {sequences: -3}}", ["analyses.sinks.sequences", "-3", "at least 2"]),
    "zero shards": ("analyses: {sinks: {shards: 0}}", ["analyses.sinks.shards", "at least 1"]),
    "epsilon above 1": ("analyses: {sinks: {epsilon: 1.5}}", ["analyses.sinks.epsilon", "less than 1"]),
    "axis without length": ("figures: {sink_norms: {ylim: [1, 1]}}", ["figures.sink_norms.ylim: [1, 1] is no range"]),
    "logarithm of nothing": (
        "figures: {sink_norms: {ylim: [0, 10]}}",
        ["figures.sink_norms.ylim: [0, 10] is not above 0", "logarithmic"],
    ),
    "norms of an input that is not run": (
        "analyses: {sinks: {inputs: [natural]}}\nfigures: {sink_norms: {input: repeated}}",
        ["figures.sink_norms.input: 'repeated' is not among analyses.sinks.inputs (natural)"],
    ),
    "template without a place": (
        'analyses: {relation_dynamic: {templates: ["no place"]}}',
        ["analyses.relation_dynamic.templates.0", "is not a text with {source}"],
    ),
    "template with two places": (
        'analyses: {relation_dynamic: {templates: ["{source} and {source}"]}}',
        ["analyses.relation_dynamic.templates.0", "has {source} more than once"],
    ),
    "template with a place of no one": (
        'analyses: {relation_effect: {templates: {default: "{source} {target}"}}}',
        ["analyses.relation_effect.templates.default", "has {target}, which nothing fills in"],
    ),
    "examples of which there are none": (
        'analyses: {relation_effect: {shots: 0, templates: {default: "{examples} {source}"}}}',
        ["analyses.relation_effect.templates.default", "shots: 0 gives none"],
    ),
    "example with another place": (
        'analyses: {relation_dynamic: {example: "{source} {target} {foo}"}}',
        ["analyses.relation_dynamic.example", "has {foo}, which nothing fills in"],
    ),
    "token as a switch": ("hub_login: hf_abcdefghijklmnop", ["hub_login: 'hf_...' is not true or false"]),
    "key in place of its name": (
        "analyses: {mink: {judge: {kind: api, api: {key_env: sk-abcdefghijkl}}}}",
        ["key_env", "sk-...", "the name of an environment variable"],
    ),
    "ablated heads that are not ablated": (
        "models: {cut: {source: {ablated: {of: tiny, heads: [[0, 0]], ablation: scaling, epsilon: 1}}}}",
        ["models.cut.source.ablated.epsilon", "less than 1"],
    ),
    "unknown choice": (
        "analyses: {meaningless_tokens: {reading: drop_colums}}",
        ["reading", "drop_colums", "did you mean 'drop_columns'"],
    ),
    "input given twice": ("analyses: {sinks: {inputs: [natural, natural]}}", ["inputs", "natural", "more than once"]),
    "emptied section": ("analyses: null", ["analyses", "null", "mapping"]),
    "no models left": ("models: {tiny: null, tiny-shuffled: null}", ["models", "empty"]),
    "figure names a model that is not there": (
        "figures: {sink_rates: {models: [tinny]}}",
        ["figures.sink_rates.models", "tinny", "did you mean 'tiny'"],
    ),
    "figure names an unknown plot": ("figures: {sink_rate: {}}", ["figures.sink_rate", "not a plot", "sink_rates"]),
    "figure names an unknown data set": (
        "figures: {attention_sinks: {dataset: question}}",
        ["figures.attention_sinks.dataset", "question", "did you mean 'questions'"],
    ),
    "figure model outside the analysis": (
        "{analyses: {sinks: {models: [tiny]}}, figures: {sink_rates: {models: [tiny-shuffled]}}}",
        ["figures.sink_rates.models", "tiny-shuffled", "analyses.sinks.models"],
    ),
    "heads for a model not shown": (
        "figures: {attention_sinks: {models: [tiny], heads: {tinny: [[0, 1]]}}}",
        ["figures.attention_sinks.heads", "tinny"],
    ),
    "analysis names an unknown model": (
        "analyses: {sinks: {models: [tiny, big]}}",
        ["analyses.sinks.models", "no model 'big'"],
    ),
    "analysis names a data set of another kind": (
        "analyses: {sinks: {dataset: questions}}",
        ["analyses.sinks.dataset", "kind prompts", "needs kind text"],
    ),
    "duplicate label": ("models: {tiny-shuffled: {label: Tiny Llama}}", ["label", "Tiny Llama", "already the label"]),
    "the same label in another encoding": (
        r'{models: {tiny: {label: "M\u00fcller"}, tiny-shuffled: {label: "Mu\u0308ller"}}}',
        ["models.tiny-shuffled.label", "already the label of models.tiny"],
    ),
    "label without signs in the font": (
        "models: {tiny: {label: Qwen 通义}}",
        ["models.tiny.label: 'Qwen 通义' holds '通义'", "DejaVu Sans", "name a font file"],
    ),
    "label of a data set without signs in the font": (
        "datasets: {passages: {label: हिन्दी}}",
        ["datasets.passages.label", "DejaVu Sans"],
    ),
    "font that is not there": ("fonts: [nowhere.ttf]", ["fonts: nowhere.ttf does not exist"]),
    "font that is none": ("fonts: [schemas/config.schema.yaml]", ["cannot be read as a font"]),
    "label over two lines": (r'models: {tiny: {label: "a\nb"}}', ["models.tiny.label", r"'\n'", "on one line"]),
    "label with what cannot be seen": (r'models: {tiny: {label: "a\u200bb"}}', [r"'\u200b'", "cannot be seen"]),
    "label that legends leave out": ("models: {tiny: {label: _tiny}}", ["models.tiny.label", "underscore"]),
    "label of white space": ('models: {tiny: {label: "  "}}', ["models.tiny.label", "is empty"]),
    "label that no panel has room for": (
        f"models: {{tiny: {{label: {'long ' * 20}}}}}",
        ["models.tiny.label", "has 99 characters", "at most 80"],
    ),
    "title without signs in the font": (
        "figures: {sink_rates: {title: '模型 {label}'}}",
        ["figures.sink_rates.title", "'模型'", "DejaVu Sans"],
    ),
    "title with mathematics that is none": (
        r"figures: {sink_rates: {title: '$\nothing$ {label}'}}",
        ["figures.sink_rates.title", "cannot be drawn", r"\nothing"],
    ),
    "control of nothing": (
        "models: {other: {source: {control: {of: tinny, kind: shuffled}}}}",
        ["models.other.source.control.of", "no model 'tinny'", "did you mean 'tiny'"],
    ),
    "control of itself": (
        "models: {tiny: {source: {path: null, control: {of: tiny-shuffled, kind: shuffled}}}}",
        ["control.of", "needs a real model"],
    ),
    "two sources": (
        f"models: {{tiny: {{source: {{url: {{url: 'https://x.org/m.gguf', sha256: '{SHA}'}}}}}}}}",
        ["models.tiny.source", "exactly one"],
    ),
    "unknown source": ("models: {other: {source: {pth: x}}}", ["models.other.source", "pth", "did you mean 'path'"]),
    "no source": ("models: {other: {label: x}}", ["models.other", "'source' is missing"]),
    "hub without a pin": ("models: {other: {source: {hub: {repo: a/b}}}}", ["models.other.source.hub", "revision"]),
    "mirrors with other hashes": (
        f"models: {{other: {{source: [{{url: {{url: 'https://x.org/m', sha256: '{SHA}'}}}}, "
        f"{{url: {{url: 'https://y.org/m', sha256: '{'1' * 64}'}}}}]}}}}",
        ["models.other.source", "entries 1 and 2", "different sha256"],
    ),
    "mirrors without a hash": (
        f"models: {{other: {{source: [{{path: x}}, {{hub: {{repo: a/b, revision: '{'1' * 40}'}}}}]}}}}",
        ["models.other.source", "no entry of the list says which files"],
    ),
    "mirror that nothing pins": (
        f"models: {{other: {{source: [{{hub: {{repo: a/b}}}}, {{url: {{url: 'http://x.org/m', sha256: '{SHA}'}}}}]}}}}",
        ["models.other.source.0.hub", "nothing pins it"],
    ),
    "ablated model of nothing": (
        "models: {other: {source: {ablated: {of: tinny, heads: [[0, 0]], ablation: scaling}}}}",
        ["models.other.source.ablated.of", "no model 'tinny'", "did you mean 'tiny'"],
    ),
    "ablated model of itself": (
        "models: {other: {source: {ablated: {of: other, heads: [[0, 0]], ablation: scaling}}}}",
        ["models.other.source.ablated.of", "an ablated model needs a real model"],
    ),
    "ablated models of each other": (
        "models: {one: {source: {ablated: {of: two, heads: [[0, 0]], ablation: scaling}}}, "
        "two: {source: {ablated: {of: one, heads: [[0, 0]], ablation: scaling}}}}",
        ["models.one.source.ablated.of", "models.two.source.ablated.of", "needs a real model"],
    ),
    "ablated control": (
        "models: {other: {source: {ablated: {of: tiny-shuffled, heads: [[0, 0]], ablation: scaling}}}}",
        ["models.other.source.ablated.of: 'tiny-shuffled' is a control", "have learnt nothing"],
    ),
    "ablated data set": (
        "datasets: {other: {kind: text, source: {ablated: {of: tiny, heads: [[0, 0]], ablation: scaling}}}}",
        ["datasets.other.source.ablated", "a data set cannot be an ablated model"],
    ),
    "ablated by a mean": (
        "models: {other: {source: {ablated: {of: tiny, heads: [[0, 0]], ablation: mean}}}}",
        ["models.other.source.ablated.ablation", "mean"],
    ),
    "epsilon of undifferentiated attention": (
        "models: {other: {source: {ablated: {of: tiny, heads: [[0, 0]], ablation: undifferentiated, epsilon: 0.1}}}}",
        ["models.other.source.ablated.epsilon", "belongs to scaling"],
    ),
    "heads that are neither listed nor ranked": (
        "models: {other: {source: {ablated: {of: tiny, heads: 3, ablation: scaling}}}}",
        ["models.other.source.ablated.heads", "a list of pairs [layer, head], such as [[0, 1]], or {top: n, dataset}"],
    ),
    "ranking of another data set": (
        "models: {other: {source: {ablated: {of: tiny, heads: {top: 2, dataset: passages}, ablation: scaling}}}}",
        ["models.other.source.ablated.heads: 'passages' is not among analyses.safety_heads.datasets (questions)"],
    ),
    "ranking of another rank": (
        "models: {other: {source: {ablated: {of: tiny, heads: {top: 2, dataset: questions, rank: 2}, "
        "ablation: scaling}}}}",
        ["models.other.source.ablated.heads: 2 is not among analyses.safety_heads.rank (1, 3)"],
    ),
    "ranking without safety heads": (
        "{models: {other: {source: {ablated: {of: tiny, heads: {top: 2, dataset: questions}, ablation: scaling}}}}, "
        "only: sinks}",
        [
            "models.other.source.ablated.heads",
            "analyses.safety_heads, which is switched off; write only: [sinks, safety_heads]",
        ],
    ),
    "ablated tokenizer": (
        "models: {other: {tokenizer: file, source: {ablated: {of: tiny, heads: [[0, 0]], ablation: scaling}}}}",
        ["models.other.tokenizer: an ablated model has the tokenizer of its base"],
    ),
    "ablated among mirrors": (
        "models: {other: {source: [{ablated: {of: tiny, heads: [[0, 0]], ablation: scaling}}, {path: x}]}}",
        ["models.other.source.0", "an ablated model is made on this machine"],
    ),
    "control among mirrors": (
        "models: {other: {source: [{control: {of: tiny, kind: shuffled}}, {path: x}]}}",
        ["models.other.source.0", "a control is made on this machine"],
    ),
    "unknown key of a mirror": (
        "models: {other: {source: [{pth: x}, {path: x}]}}",
        ["models.other.source.0", "pth", "did you mean 'path'"],
    ),
    "revision that is a branch": (
        "models: {other: {source: {hub: {repo: a/b, revision: main}}}}",
        ["models.other.source.hub.revision", "main"],
    ),
    "url without a hash": (
        "models: {other: {source: {url: {url: 'https://x.org/m'}}}}",
        ["models.other.source.url: nothing pins it; give sha256"],
    ),
    "mirror by url without a hash": (
        "models: {other: {source: [{url: {url: 'https://x.org/m'}}, "
        f"{{url: {{url: 'http://x.org/m', sha256: '{SHA}'}}}}]}}}}",
        ["models.other.source.0.url: nothing pins it"],
    ),
    "url of files and a hash": (
        f"datasets: {{d: {{kind: text, source: {{url: {{url: 'https://x.org/', sha256: '{SHA}', "
        f"files: {{a.txt: '{SHA}'}}}}}}}}}}",
        ["datasets.d.source.url.sha256: it is of a single file; leave it out"],
    ),
    "url of files with a query": (
        f"datasets: {{d: {{kind: text, source: {{url: {{url: 'https://x.org/?a=b', files: {{a.txt: '{SHA}'}}}}}}}}}}",
        ["datasets.d.source.url.url: it is the address of a folder here"],
    ),
    "url of files outside": (
        f"datasets: {{d: {{kind: text, source: {{url: {{url: 'https://x.org', files: {{../a.txt: '{SHA}'}}}}}}}}}}",
        ["datasets.d.source.url.files: '../a.txt' is no plain path"],
    ),
    "url of files by another name": (
        f"datasets: {{d: {{kind: text, source: {{url: {{url: 'https://x.org', files: {{a//b.txt: '{SHA}', "
        f"a/./c.txt: '{SHA}'}}}}}}}}}}",
        [
            "datasets.d.source.url.files: 'a//b.txt' is no plain path",
            "datasets.d.source.url.files: 'a/./c.txt' is no plain path",
        ],
    ),
    "url of files with our record": (
        "datasets: {d: {kind: text, source: {url: {url: 'https://x.org', "
        f"files: {{a.txt: '{SHA}', provenance.json: '{SHA}'}}}}}}}}}}",
        ["datasets.d.source.url.files: 'provenance.json' is the name of the record"],
    ),
    "url of code": (
        f"datasets: {{d: {{kind: text, source: {{url: {{url: 'https://x.org', files: {{a.pkl: '{SHA}'}}}}}}}}}}",
        ["datasets.d.source.url.files: 'a.pkl' is no plain path of a file of a type that is taken"],
    ),
    "url of a model in folders": (
        f"models: {{m: {{source: {{url: {{url: 'https://x.org', files: {{a/model.safetensors: '{SHA}'}}}}}}}}}}",
        ["models.m.source.url.files: 'a/model.safetensors' has a folder"],
    ),
    "relations of another kind": (
        "datasets: {passages: {relations: {a: {file: a.json, category: Knowledge}}}}",
        ["datasets.passages.relations: only data sets of kind relations have them, not one of kind text"],
    ),
    "relation without its file": (
        f"datasets: {{maps: {{kind: relations, source: {{url: {{url: 'https://x.org', files: {{a.json: '{SHA}'}}}}}}, "
        "relations: {a: {file: b.json, category: Knowledge}}}}",
        ["datasets.maps.relations.a.file: the source has no 'b.json'; did you mean 'a.json'?"],
    ),
    "relation of an unknown category": (
        "datasets: {maps: {kind: relations, source: {path: tiny/relations}, "
        "relations: {a: {file: b.json, category: Knowlege}}}}",
        ["datasets.maps.relations", "Knowlege"],
    ),
    "answers to no data set": (
        "analyses: {mink: {answered_datasets: [grap]}}",
        ["analyses.mink.answered_datasets: 'grap' is not among analyses.mink.datasets; did you mean 'graph'?"],
    ),
    "short hash": (
        "models: {other: {source: {url: {url: 'https://x.org/m', sha256: abc}}}}",
        ["models.other.source.url.sha256", "abc"],
    ),
    "other hash for the same wheel": (
        f"models: {{a: {{source: {{package: {{name: p, version: '1', sha256: '{SHA}', files: {{f: '{SHA}'}}}}}}}}, "
        f"b: {{source: {{package: {{name: p, version: '1', sha256: '{'1' * 64}', files: {{f: '{SHA}'}}}}}}}}}}",
        ["p-1", "another sha256", "models.a.source"],
    ),
    "key with a slash": ("models: {a/b: {source: {path: x}}}", ["a/b"]),
    "path that is not there": (
        "models: {tiny: {source: {path: nowhere/model}}}",
        ["tiny", "nowhere/model", "not exist"],
    ),
    "unknown kind": ("datasets: {passages: {kind: txt}}", ["datasets.passages.kind", "did you mean 'text'"]),
    "k beyond what is stored": (
        "analyses: {head_categories: {k: {copying: 30}}}",
        ["analyses.head_categories.k.copying", "30", "k_max = 20"],
    ),
    "axis limits of one number": ("figures: {sink_rates: {xlim: [3]}}", ["figures.sink_rates.xlim"]),
    "answers without what they are compared with": (
        "analyses: {mink: {prompts: [gold]}}",
        ["analyses.mink.prompts: zero_shot is not among them; add it"],
    ),
    "prompts of scores that came with the data": (
        "analyses: {mink: {prompts: [zero_shot, gold], judge: {kind: column}}}",
        ["analyses.mink.prompts: the scores of judge.kind: column came with the data"],
    ),
    "answers by prompt of none": (
        "{analyses: {mink: {predictions: {questions: 0}}}, figures: {depth_prompts: {models: [tiny]}}}",
        ["figures.depth_prompts.models: tiny gives no answers to graph; take it out."],
    ),
    "unknown reference": (
        "analyses: {membership: {reference: tinny}}",
        ["analyses.membership.reference: 'tinny' is not among analyses.membership.models; did you mean 'tiny'?"],
    ),
    "reference of one model": (
        "models: {tiny: {options: {membership: {reference: other}}}}",
        ["models.tiny.options.membership.reference: 'other' is not among analyses.membership.models"],
    ),
    "curve of no reference": (
        "{analyses: {membership: {reference: null}}, figures: {membership_roc: {measures: [loss, reference]}}}",
        ["figures.membership_roc.measures: reference is not measured; give analyses.membership.reference or take it"],
    ),
    "curve of no lower case": (
        "{analyses: {membership: {lowercase: false}}, figures: {membership_roc: {measures: [lowercase]}}}",
        ["figures.membership_roc.measures: lowercase is not measured"],
    ),
    "K that no score has": (
        "figures: {membership_roc: {k_percent: 7}}",
        ["figures.membership_roc.k_percent: 7 is not among analyses.membership.k_percent (20, 5, 10, 50, 100)"],
    ),
    "flow of one end": (
        "analyses: {span_saliency: {flows: [{name: a, from: text}]}}",
        ["analyses.span_saliency.flows: a needs `from` and `to`, or rest: true."],
    ),
    "rest with an end": (
        "analyses: {span_saliency: {flows: [{name: a, to: text, rest: true}]}}",
        ["analyses.span_saliency.flows: a has rest and `to`; keep one of them"],
    ),
    "flows of one name": (
        "analyses: {span_saliency: {flows: [{name: a, from: b, to: c}, {name: a, rest: true}]}}",
        ["analyses.span_saliency.flows: a stands there twice"],
    ),
    "two rests": (
        "analyses: {span_saliency: {flows: [{name: a, rest: true}, {name: b, rest: true}]}}",
        ["analyses.span_saliency.flows: a and b are both the rest"],
    ),
    "no rest": (
        "analyses: {span_saliency: {flows: [{name: a, rest: false}]}}",
        ["analyses.span_saliency.flows.0.rest: false is not true; write true, or leave the key out."],
    ),
    "column of no field": (
        "datasets: {questions: {columns: {txt: body}}}",
        ["datasets.questions.columns: data sets of kind prompts have no field 'txt'; did you mean 'text'?"],
    ),
    "zero on a logarithmic axis": (
        "figures: {span_saliency: {ylim: [0, 1]}}",
        ["figures.span_saliency.ylim: 0 has no place on a logarithmic axis; give numbers above 0, or scale: linear."],
    ),
    "name of a flow": (
        "analyses: {span_saliency: {flows: [{name: a b, rest: true}]}}",
        ["analyses.span_saliency.flows.0.name", "a name of letters, digits and _"],
    ),
    "flow that no analysis has": (
        "figures: {span_saliency: {flows: [S_pqs]}}",
        ["figures.span_saliency.flows: 'S_pqs' is not among analyses.span_saliency.flows; did you mean 'S_pq'?"],
    ),
    "collection of another kind": (
        "analyses: {membership: {datasets: [graph]}}",
        ["analyses.membership.datasets: 'graph' is of kind depth; membership needs kind membership."],
    ),
    "percentage of nothing": ("analyses: {mink: {k_percent: [0]}}", ["k_percent.0: 0 is out of range"]),
    "percentage above 100": ("analyses: {mink: {k_percent: [101]}}", ["101 is out of range"]),
    "unknown text": ("analyses: {mink: {texts: [anwser]}}", ["did you mean 'answer'?"]),
    "rank of groups that is not computed": (
        "analyses: {head_groups: {rank: 2}}",
        ["analyses.head_groups.rank: 2 is not among analyses.safety_heads.rank"],
    ),
    "rank of heads that is not computed": (
        "analyses: {heads: {rank: 2}}",
        ["analyses.heads.rank: 2 is not among analyses.safety_heads.rank"],
    ),
    "heads of a data set of another analysis": (
        "analyses: {heads: {datasets: {sinks: questions}}}",
        ["analyses.heads.datasets.sinks: 'questions' is not among its data sets"],
    ),
    "heads of a model that is not there": (
        "analyses: {heads: {models: [tinny]}}",
        ["covers 'tinny'; did you mean 'tiny'?"],
    ),
    "one measure only": ("analyses: {heads: {metrics: [score]}}", ["analyses.heads.metrics"]),
    "figure of a measure that is not compared": (
        "figures: {head_overlap: {metrics: [score, span_mass]}}",
        ["'span_mass' is not among analyses.heads.metrics"],
    ),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_bad_configuration_is_told_in_sentences(place, case):
    text, words = CONFIGS[case]
    with pytest.raises(AtlasError) as caught:
        checked(overlaid(TINY, text), place)
    said = str(caught.value)
    for word in words:
        assert word in said
    assert said.startswith("The configuration has ")
    assert len(said.splitlines()) <= 3, said


def test_good_configurations_are_accepted(place):
    """What the cases above change is all that is wrong with them."""
    config = checked(overlaid(TINY), place)
    assert list(config["models"]) == ["tiny", "tiny-shuffled"]
    assert len(checked(overlaid(PAPER, "allow_unpinned: true"), place)["models"]) > 5


def test_plan_is_refused_where_nothing_pins_a_source(place):
    with pytest.raises(AtlasError) as caught:
        checked(overlaid(PAPER), place)
    assert str(caught.value).count("nothing pins it") == 1  # of all models and data sets of the sources
    assert "datasets.depthqa-graphs.source.hub: nothing pins it" in str(caught.value)
    assert "allow_unpinned: true" in str(caught.value)


def test_the_models_and_data_of_the_sources_are_pinned_without_the_score_gaps(place):
    config = checked(overlaid(PAPER, PINNED), place)
    assert config["figures"]["mink_depth"]["models"] == config["analyses"]["mink"]["models"]
    assert config["figures"]["mink_depth"]["kde_models"] == []
    assert config["analyses"]["mink"]["answered_datasets"] == ["depthqa"]
