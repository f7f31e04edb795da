"""Chat templates: the same text on every day, nothing left out, and one sentence for each that cannot be used."""

import itertools
import json
import re
import resource
import signal
from datetime import datetime

import jsonschema
import pandas as pd
import pytest
from transformers.utils import chat_template_utils

from atlas.analyses.meaningless_tokens import prompts as spans
from atlas.analyses.meaningless_tokens.prompts import build_prompts
from atlas.analyses.mink import scored_texts as scored
from atlas.analyses.mink.answers import question_prompts
from atlas.analyses.mink.scored_texts import scored_texts
from atlas.analyses.safety_heads.queries import ANSWERS, SHIPS, build_queries
from atlas.analyses.saliency.prompts import PROMPT, ask
from atlas.config.generate.schema_text import whole_schema
from atlas.data.chat import ChatOption
from atlas.errors import AtlasError
from atlas.models.task import ModelTask
from byte_tokenizer import CHAT, prompter, tokenizer
from unlimited import ANY

SAID = ChatOption("a", "template", "raw", quiet=None)
RAW = "models: {m: {options: {a: {template: raw}}}}"
SYSTEM = [{"role": "system", "content": "be brief\n"}]
DATED = "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% endif %}"
NO_SYSTEM = "{{ raise_exception('System role not supported') if messages[0]['role'] == 'system' }}"
DROPS_SYSTEM = CHAT.replace("in messages", "in messages if m.role != 'system'")
# as Qwen 3's
THINKS = (
    CHAT + "{% if enable_thinking is not defined or enable_thinking %}<think>\n"
    "{% else %}<think>\n\n</think>\n\n{% endif %}"
)
SHOWN = [{"question": "where", "answer": "here", "long_answer": "it is here"}]
DEPTH = [{"number": 0, "question": "who am i", "answer": "bob", "prediction": None}]


def framed(template, messages=(), *, answered=True, date="2024-07-26", **kwargs):
    return prompter(tokenizer(template=template), date, **kwargs).frame(messages, SAID, answered=answered)


def renderings(template, *, system=None, **kwargs):
    """{analysis: call} of everything that renders a template, with the system message where it has one."""
    rows = pd.DataFrame({"id": ["a"], "text": ["who am i"], **({} if system is None else {"system": [system]})})
    questions = pd.DataFrame({"id": ["a"], "question": ["who am i"], "answers": [["bob"]]})
    graph = questions.assign(depth=[3], predecessors=[[]])
    spans = {"kind": "repeat", "string": "/", "count": 2, "separator": "", "seed": 0}
    options = {"system": system or "", "template": "chat", "span": spans, "insertion": "ids", "max_tokens": 200}
    mink = {"template": "chat", "system": system, "limits": ANY}
    predictions = {"questions": None, "seed": 0, "max_new_tokens": [8, 8, 8], "batch_size": 1}

    def words():
        return prompter(tokenizer(template=template), **kwargs)

    return {
        "analyses.safety_heads.template": lambda: build_queries(words(), rows, "chat", ANY, SHIPS),
        "analyses.mink.template": lambda: scored_texts(words(), DEPTH, "answer", max_tokens=200, **mink),
        "analyses.mink.template ": lambda: question_prompts(words(), graph, predictions, **mink),
        "analyses.meaningless_tokens.template": lambda: build_prompts(words(), ["who am i"], options, ANY),
        "analyses.saliency.prompt": lambda: ask(words(), questions, SHOWN, prompt="chat", limits=ANY, max_new_tokens=8),
    }


# ----------------------------------------------------------------------------------------------------------------- auto
@pytest.mark.parametrize("said", [SHIPS, ANSWERS, scored.TEMPLATE, spans.TEMPLATE, PROMPT], ids=lambda said: said.name)
def test_auto_is_chat_where_there_is_a_template_and_else_the_raw_form(said):
    with_template, without = prompter(tokenizer()), prompter(tokenizer(template=None))
    assert (with_template.choice("auto", said), without.choice("auto", said)) == ("chat", said.other)
    for value in ("chat", said.other):
        assert with_template.choice(value, said) == without.choice(value, said) == value
    schema = whole_schema()["$defs"]
    for value in ("auto", "chat", said.other):
        rule = schema[said.analysis]["properties"][said.key]
        jsonschema.validate(value, {**rule, "$defs": schema})


def test_what_auto_is_stands_in_the_options_and_so_in_the_provenance():
    params = {"options": {"template": "auto", "max_tokens": 8}}
    task = ModelTask({}, params, {"model": "m"}, 1, None, None, None)
    task.prompter = prompter(tokenizer(template=None))
    assert task.settled(scored.TEMPLATE) == task.options == {"template": "raw", "max_tokens": 8}
    assert params == {"options": {"template": "auto", "max_tokens": 8}}


# ----------------------------------------------------------------------------------------------------------------- ends
@pytest.mark.parametrize(
    ("template", "ends"),
    [
        (CHAT, ["<|end|>"]),
        (CHAT.replace("<|end|>", "\n<|end|>\n"), ["<|end|>"]),
        (CHAT.replace("<|end|>", "</s>"), ["</s>"]),
        (CHAT.replace("<|end|>", "\n"), []),
        (CHAT.replace("<|end|>", "end<|end|>"), []),  # words of the template first
        (CHAT + "{{ raise_exception('no') if messages[-1].role == 'assistant' }}", []),
    ],
)
def test_what_a_template_writes_behind_an_answer_ends_it(template, ends):
    tokens = tokenizer(template=template)
    asks = prompter(tokens)
    assert asks.turn_ends() == []  # no template was rendered
    asks.frame((), SAID)
    assert asks.turn_ends() == tokens.convert_tokens_to_ids(ends)


# ---------------------------------------------------------------------------------------------------------------- dates
class AnotherDay(datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2031, 2, 3)


@pytest.mark.parametrize("system", [(), SYSTEM])
def test_a_template_that_writes_the_day_writes_that_of_the_option_on_every_day(system, monkeypatch):
    today = framed(DATED + CHAT, system)
    assert today[0].startswith("26 Jul 2024<|")
    monkeypatch.setattr(chat_template_utils, "datetime", AnotherDay)
    tokens = tokenizer(template=DATED + "!" + CHAT)
    assert tokens.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False).startswith("03 Feb 2031!")
    assert framed(DATED + CHAT, system) == today
    assert framed(DATED + CHAT, system, date="2025-01-02")[0].startswith("02 Jan 2025<|")


def test_the_record_names_the_day_only_where_it_was_read_and_tells_frames_apart():
    def record(template, messages=(), **settings):
        words = prompter(tokenizer(template=template), **settings)
        assert words.record() is None  # nothing was rendered
        words.frame(messages, SAID)
        return words.record()

    plain, dated = record(CHAT), record(DATED + CHAT)
    assert plain["date"] is None
    assert record(CHAT, date="2025-01-02") == plain
    assert dated["date"] == "2024-07-26"
    hashes = [plain, dated, record(DATED + CHAT, date="2025-01-02"), record(CHAT, SYSTEM), record("a" + CHAT)]
    assert len({found["frames_sha256"] for found in hashes}) == len(hashes)
    closed = record(THINKS, enable_thinking=False)
    assert closed["kwargs"] == {"enable_thinking": False}


def test_a_value_for_the_template_goes_before_the_day():
    own = "{% if not date_string is defined %}{% set date_string = strftime_now('%Y') %}{% endif %}{{ date_string }}"
    assert framed(own + CHAT)[0] == "2024<|user|>"
    assert framed(own + CHAT, date_string="yesterday")[0] == "yesterday<|user|>"


@pytest.mark.parametrize("drawn", ["{{ [1, 2, 3] | random }}", "{{ lipsum() }}"])
def test_a_template_that_draws_is_refused(drawn):
    with pytest.raises(AtlasError, match="draws at random"):
        framed(drawn + CHAT)


# ------------------------------------------------------------------------------------------------------------- thinking
OPEN = ["<think>\n", "<thinking>", "[THINK]", "<|START_THINKING|>", "<|begin_of_thought|>", "<seed:think>", "◁think▷",
        "<think>\n\n</think>\n\n<think>\n"]  # fmt: skip
CLOSED = ["<think>\n\n</think>\n\n", "[THINK][/THINK]", "<|START_THINKING|><|END_THINKING|>", "</think>\n", "",
          "<|begin_of_thought|>\n<|end_of_thought|>", "<seed:think></seed:think>", "◁think▷◁/think▷",
          "think: ", "<answer>"]  # fmt: skip


def ending(text):
    return CHAT + "{{ " + json.dumps(text, ensure_ascii=False) + " }}"  # jinja drops a line break at the end of a file


@pytest.mark.parametrize("end", OPEN)
def test_an_answer_in_an_open_thinking_block_is_refused(end):
    with pytest.raises(
        AtlasError, match=r"leaves it open.*models\.m\.chat_template_kwargs.*write " + re.escape(RAW) + r"\.$"
    ):
        framed(ending(end))
    assert framed(ending(end), answered=False)[1].endswith(end)  # where nothing is read as an answer


@pytest.mark.parametrize("end", CLOSED)
def test_a_closed_thinking_block_is_no_open_one(end):
    assert framed(ending(end))[1] == "<|end|><|assistant|>" + end


def test_words_on_thinking_before_the_assistants_turn_open_nothing():
    told = [{"role": "system", "content": "Put your reasoning between <think> and its end."}]
    assert "<think>" in framed(CHAT, told)[0]


@pytest.mark.parametrize("where", renderings(CHAT))
def test_every_analysis_passes_the_values_on_and_refuses_what_is_left_open(where):
    renderings(THINKS, enable_thinking=False)[where]()
    if "meaningless" in where:
        renderings(THINKS)[where]()  # attention of the prompt: nothing is answered
        return
    with pytest.raises(AtlasError, match=re.escape(where.strip()) + " is chat.*thinking block"):
        renderings(THINKS)[where]()


def test_a_question_alone_has_no_answer():
    settings = {"template": "chat", "system": None, "max_tokens": 200, "limits": ANY}
    texts, _ = scored_texts(prompter(tokenizer(template=THINKS)), DEPTH, "question", **settings)
    assert len(texts) == 1


@pytest.mark.parametrize("template", [THINKS, CHAT + "{% if thinking is defined %}{% set a = thinking %}{% endif %}"])
def test_a_value_that_the_template_does_not_read_is_refused(template):
    with pytest.raises(AtlasError, match=r"models\.m\.chat_template_kwargs: .* reads no 'enable_thinkin'"):
        framed(template, enable_thinkin=False)
    with pytest.raises(AtlasError, match="did you mean 'enable_thinking'"):
        framed(THINKS, enable_thinkin=False)


# --------------------------------------------------------------------------------------------------- what fails in them
@pytest.mark.parametrize("where", renderings(CHAT))
@pytest.mark.parametrize("template", [NO_SYSTEM + CHAT, DROPS_SYSTEM])
def test_a_system_message_that_does_not_arrive_is_named_with_the_way_out(where, template):
    """Gemma's template refuses it, others drop it; every analysis says which option gives it."""
    renderings(template)[where]()
    if where == "analyses.saliency.prompt":  # it has none
        return
    way_out = {"mink": "write models: {m: {options: {mink: {system: null}}}}",
               "meaningless": 'write models: {m: {options: {meaningless_tokens: {system: ""}}}}',
               "safety": "use a data set without a column `system`"}  # fmt: skip
    expected = next(text for key, text in way_out.items() if key in where)
    with pytest.raises(AtlasError) as caught:
        renderings(template, system="be brief")[where]()
    sentence = str(caught.value)
    for part in (where.strip(), "model m's", "the system message", expected, ", or write models: {m: {options: {"):
        assert part in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")


FAILS = {
    "{{ messages[0].nope.no }}": "UndefinedError: .*nope",
    "{% if": "TemplateSyntaxError",
    "{{ raise_exception('Conversation roles must alternate') }}": "TemplateError: Conversation roles must alternate",
    "{{ raise_exception('') }}": "TemplateError",
    "{{ 'a' + 1 }}": "TypeError",
    "{{ messages[0]['content'].unknown() }}": "UndefinedError",
    "{{ ''.__class__.__mro__ }}": "SecurityError",
    "{{ 1 / 0 }}": "ZeroDivisionError",
    "{% for i in range(1000000) %}{% endfor %}": "OverflowError",
    "{{ messages[0]['content'] | upper }}": "changes the user's text",
    "nothing": "changes the user's text",
    "{% for m in messages %}{{ m.content }}, {{ m.content }}{% endfor %}": "changes the user's text",
    None: "no chat template",
}


@pytest.mark.parametrize("template", FAILS)
@pytest.mark.parametrize("where", renderings(CHAT))
def test_a_template_that_fails_is_one_sentence_in_every_analysis(template, where):
    with pytest.raises(AtlasError) as caught:
        renderings(template)[where]()
    assert re.search(
        f"^{where.strip()} is chat, but model m's .*{FAILS[template]}.*; write models: .*[.]$", str(caught.value)
    )


@pytest.mark.parametrize("text", ["s", "user", "<|"])
def test_a_system_message_is_not_found_by_chance(text):
    assert text in framed(CHAT)[0]
    with pytest.raises(AtlasError, match="leaves out or changes the system message"):
        framed(DROPS_SYSTEM, [{"role": "system", "content": text}])


def test_several_templates_without_a_default_are_refused():
    with pytest.raises(AtlasError, match=r"model m's chat template fails .*multiple chat templates.*write models: "):
        framed({"rag": CHAT, "tool_use": CHAT})
    assert framed({"rag": "x", "default": CHAT}) == framed(CHAT)


def test_a_worked_example_that_does_not_arrive_is_refused():
    with pytest.raises(
        AtlasError, match=r"analyses\.saliency\.prompt is chat.*changes the user's text; write .*few_shot"
    ):
        renderings("{{ messages[-1].content }}")["analyses.saliency.prompt"]()


# ----------------------------------------------------------------------------------------------------------- properties
PARTS = list(itertools.product(("", "<s>"), ("", DATED), ("allowed", "refused", "dropped"), ("", "\n"), (False, True)))


@pytest.mark.parametrize(("begin", "day", "system", "end", "trims"), PARTS)
def test_the_frame_with_a_text_is_what_transformers_renders(begin, day, system, end, trims):
    """Over templates with and without a beginning, a day, a system message, stripped texts."""
    body = {"allowed": CHAT, "refused": NO_SYSTEM + CHAT, "dropped": DROPS_SYSTEM}[system]
    body = body.replace("{{ m.content }}", "{{ m.content | trim }}") if trims else body
    template = begin + day + body + end
    tokens, text = tokenizer(bos=True, eos=True, template=template), "who am i"
    for messages in ((), SYSTEM):
        words = prompter(tokens)
        if messages and system != "allowed":
            with pytest.raises(AtlasError, match="system message"):
                words.frame(messages, SAID)
            continue
        before, after = words.frame(messages, SAID)
        stock = tokens.apply_chat_template(
            [*messages, {"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
        )
        assert before + text + after == stock
        assert ("26 Jul 2024" in before) == bool(day)
        assert words.render([*messages, {"role": "user", "content": text}], SAID) == stock


# Each would be one step of Python's, or of jinja2 while it compiles, that no signal ends; or all of a machine's memory.
SQUARES = "{% set n = namespace(x=10) %}{% for i in range(40) %}{% set n.x = n.x * n.x %}{% endfor %}"
DOUBLED = "{% set n = namespace(x='12345678') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ 10 ** (10 ** 9) }}", "multiplies what it has made itself, in line 1"),
        (SQUARES, "multiplies what it has made itself"),
        ("\n{{ 'x' * 10**10 }}", "multiplies what it has made itself, in line 2"),
        (DOUBLED, "MemoryError"),
        ("{{ 'x' | center(9999999999) }}", "MemoryError"),
    ],
)
def test_a_template_that_no_budget_ends_is_refused(template, why):
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(AtlasError, match=why):
        framed(template + CHAT)
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_a_template_may_multiply_by_a_small_number():
    assert framed(CHAT + "{{ '-' * 3 }}{{ 2 * messages | length }}")[1].endswith("---2")


ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% set c = a + b %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "why"), [(ENDLESS, "longer than 0.3 seconds"), ("{{ 'x' | center(10000000) }}", "characters")]
)
def test_a_template_that_takes_too_much_is_refused(template, why, monkeypatch):
    monkeypatch.setattr("atlas.data.chat._SECONDS", 0.3)
    with pytest.raises(AtlasError, match=why):
        framed(template + CHAT)
    assert signal.getitimer(signal.ITIMER_VIRTUAL)[0] == 0
    assert framed(CHAT)
