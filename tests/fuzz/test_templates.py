"""Chat templates that are wrong, endless, or say something else than they were given."""

import jinja2
from hypothesis import example, given
from hypothesis import strategies as st

from atlas.data.chat import ChatOption
from byte_tokenizer import CHAT, prompter, tokenizer
from hostile import Refused, answer, examples, nasty_texts

SAID = ChatOption("a", "template", "raw", quiet=None)
# Parts of real templates, and of hostile ones.
PARTS = [
    CHAT, "{{ messages[0].content }}", "{{ messages[-1]['content'] | trim }}", "{{ messages }}", "{{ bos_token }}",
    "{% for m in messages %}", "{% endfor %}", "{{ m.content }}", "{{ m['role'] | upper }}",
    "{% if add_generation_prompt %}",
    "{% endif %}", "{% else %}", "<think>\n", "</think>", "{{ raise_exception('no') }}", "{{ strftime_now('%Y') }}",
    "{% if messages[0].role == 'system' %}", "{{ x.y.z }}", "{{ tools }}", "{% set n = namespace(a='ab') %}",
    "{% for i in range(40) %}{% set n.a = n.a ~ n.a %}{% endfor %}", "{% for i in range(99999) %}{{ i }}{% endfor %}",
    "{{ 'x' * 9999999999 }}", "{{ 10 ** (10 ** 9) }}", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{{ lipsum() }}",
    "{{ ''.__class__.__mro__ }}", "{{ cycler.__init__.__globals__ }}", "{% include 'x' %}", "{% import 'os' as o %}",
    "{{ [1, 2] | random }}", "{{ 1 / 0 }}", "{{ '%9999999999d' % 1 }}", "{{ messages[9].content }}", "{# x #}",
    "{%- raw %}",
    "{{ m.content | replace('a', 'b') }}", "{{ m.content[:3] }}", "{{ m.content | tojson }}", "{% generation %}",
    "{% break %}",
]  # fmt: skip
templates = st.one_of(
    st.lists(st.one_of(st.sampled_from(PARTS), nasty_texts), min_size=1, max_size=5).map("".join),
    st.lists(st.sampled_from(PARTS), max_size=2).map(lambda parts: "".join([CHAT, *parts])),
    st.tuples(st.integers(0, len(CHAT)), nasty_texts).map(lambda at: CHAT[: at[0]] + at[1] + CHAT[at[0] :]),
)
turns = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": nasty_texts}),
    max_size=2,
)


@examples(60, 0.1)
@example("{{ 10 ** (10 ** 9) }}" + CHAT, [], "")
@example("{% set n = namespace(x=10) %}{% for i in range(40) %}{% set n.x = n.x * n.x %}{% endfor %}" + CHAT, [], "")
@example("{{ 'a' | center(9999999999) }}" + CHAT, [], "")
@example(CHAT + "{{ messages }}", [], "")  # says it once more, in another form
@given(templates, turns, nasty_texts)
def test_a_frame_holds_what_was_said_or_is_refused(template, messages, lead):
    words = prompter(tokenizer(template=template))
    found = answer(words.frame, messages, SAID, lead=lead)
    if isinstance(found, Refused):
        return
    before, after = found
    asked = [*messages, {"role": "user", "content": lead + "what is asked"}]
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    environment.globals.update(strftime_now=lambda form: "2024", bos_token="<s>", eos_token="</s>")
    environment.filters["tojson"] = lambda value: __import__("json").dumps(value, ensure_ascii=False)
    expected = environment.from_string(template).render(
        messages=asked,
        tools=None,
        documents=None,
        add_generation_prompt=True,  # what transformers always hands over
    )
    assert before + "what is asked" + after == expected
    assert all(message["content"].strip() in before + after for message in messages)
