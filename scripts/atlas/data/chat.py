"""How a model's chat template is rendered: the same on every day, and never without what was asked of it.

A template is a program that its model's authors wrote. It may read the day, refuse a system message, leave one out or
open a thinking block; each of these is fixed, recorded or refused here, and nowhere else.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeAlias

from atlas.data.budget import budget
from atlas.data.tokens import encode, special_ids
from atlas.errors import AtlasError
from atlas.own_options import own_options

if TYPE_CHECKING:
    import jinja2
    from transformers import PreTrainedTokenizerBase

Messages: TypeAlias = Sequence[Mapping[str, str]]

AUTO, CHAT = "auto", "chat"  # values of an option that a ChatOption names
_SECONDS, _LONGEST = 10, 1_000_000  # of processor time, and characters of its own, that a template may take
_FACTOR = 1000  # the largest number that a template may multiply by
_LOG = logging.getLogger("atlas")
_SAID = "\u2063said\u2063"  # invisible separators: no data holds them
_ALIKE = "\u2063told\u2063"  # another of its kind
# `<think>`, `[THINK]`, `<|START_THINKING|>`, `<seed:think>`, `<|begin_of_thought|>`, and what closes each.
_THINKING = r"(?:think|thinking|thought|thoughts|reason|reasoning|reflection|analysis)"
_OPENS = re.compile(rf"[<\[◁]\|?(?:(?:start|begin)_(?:of_)?|seed:)?{_THINKING}(?:_(?:start|begin))?\|?[>\]▷]", re.I)
_CLOSES = re.compile(rf"[<\[◁]\|?(?:/(?:seed:)?|end_(?:of_)?){_THINKING}\|?[>\]▷]|<\|?{_THINKING}_end\|?>", re.I)
# What every template is given; the rest of what it reads may be set by chat_template_kwargs.
_GIVEN = {"messages", "tools", "documents", "add_generation_prompt"}


@dataclass(frozen=True)
class ChatSettings:
    """date: what templates are told is today, as 2024-07-26; kwargs: models.KEY.chat_template_kwargs."""

    date: str
    kwargs: Mapping[str, Any]


class ChatOption(NamedTuple):
    """The option `key` of an analysis that chooses chat, and `other`, what it is without a template.

    quiet: the value of the analysis's option `system` that takes the system message away; or no_system: how else.
    """

    analysis: str
    key: str
    other: str
    quiet: str | None = ""
    no_system: str = ""

    @property
    def name(self) -> str:
        return f"analyses.{self.analysis}.{self.key}"

    def without_system(self, model: str) -> str:
        """What to do about a template that takes no system message."""
        return self.no_system or f"write {own_options(model, self.analysis, 'system', self.quiet)}"


@dataclass
class Prompter:
    """A model's tokenizer and how its chat template is rendered; it keeps record of the frames that it rendered.

    model: its key, for errors. settings: None for a job that renders no template.
    """

    tokenizer: PreTrainedTokenizerBase
    model: str
    settings: ChatSettings | None = None
    _frames: dict[str, tuple[str, str]] = field(default_factory=dict)
    _told_the_date: bool = False
    _checked: bool = False

    def choice(self, value: str, said: ChatOption) -> str:
        """What `value` of the option `said` is for this model: auto is chat where it has a template, else the other."""
        if value != AUTO:
            return value
        return CHAT if getattr(self.tokenizer, "chat_template", None) else said.other

    def frame(self, messages: Messages, said: ChatOption, *, lead: str = "", answered: bool = True) -> tuple[str, str]:
        """(text before, text after) of the user's turn that follows `messages` and begins with `lead`.

        The template writes its own special tokens. answered: what follows the frame is read as the answer.
        Raises AtlasError where there is no template, where it fails, changes or leaves out what is said, and where an
        answer would stand in an open thinking block.
        """
        key = json.dumps([*messages, lead])
        if key not in self._frames:
            asked = {"role": "user", "content": lead + _SAID}
            # Marked, because a short text that was left out may stand somewhere else by chance.
            self.render([*({**one, "content": one["content"] + _SAID} for one in messages), asked], said)
            written = self.render([*messages, asked], said)
            before, found, after = written.partition(_SAID)
            if not found or _SAID in after or lead.strip() not in before:
                self._refuse(said, "chat template changes the user's text")
            other = self.render([*messages, {**asked, "content": lead + _ALIKE}], said)
            if other != before + _ALIKE + after:  # written once more in another form, or what stands around follows it
                self._refuse(said, "chat template writes something else for another user's text")
            self._frames[key] = before, after
        before, after = self._frames[key]
        if answered:
            self._check_thinking(after, said)
        return before, after

    def render(self, messages: Messages, said: ChatOption) -> str:
        """`messages` as the template writes them, up to where the assistant's turn begins. Raises AtlasError."""
        if not getattr(self.tokenizer, "chat_template", None):
            self._refuse(said, "tokenizer has no chat template")
        try:
            written = self._rendered(messages)
        except AtlasError:
            raise
        except Exception as error:  # a template may raise whatever Python can
            self._explain(messages, said, error)
        for message in messages:
            if message["content"].strip() not in written:
                self._left_out(message["role"], said)
        return written

    def record(self) -> dict[str, Any] | None:
        """What the frames rendered so far depend on beside the model, with a hash of them; None where there are none.

        date: None where no template asked for it.
        """
        if not self._frames:
            return None
        digest = hashlib.sha256(json.dumps(sorted(self._frames.values())).encode()).hexdigest()
        settings = self._settings()
        return {
            "date": settings.date if self._told_the_date else None,
            "kwargs": dict(settings.kwargs),
            "frames_sha256": digest,
        }

    def turn_ends(self) -> list[int]:
        """The id of the special token that the template writes behind an assistant's turn, if there is one.

        A model that was taught by it ends its answers so, whatever its generation_config names. None where no template
        was rendered.
        """
        if not self._frames:
            return []
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": _SAID}]
        try:
            written = self._rendered(turns, prompt=False)
        except Exception as error:  # a template that renders no finished turn
            _LOG.warning(
                "model %s's chat template renders no finished turn (%s): its own end tokens alone end answers",
                self.model,
                error,
            )
            return []
        after = encode(self.tokenizer, written.rpartition(_SAID)[2].lstrip(), special=False)
        return [token for token in after[:1] if token in special_ids(self.tokenizer)]

    def _settings(self) -> ChatSettings:
        if self.settings is None:
            raise RuntimeError("a rule whose job renders a chat template must give the param `chat`")
        return self.settings

    def _rendered(self, messages: Messages, prompt: bool = True) -> str:
        settings = self._settings()
        template = self.tokenizer.get_chat_template()
        with budget(_SECONDS):
            if not self._checked:
                _refuse_powers(template)
                self._check_kwargs(template, settings.kwargs)
                self._checked = True
            _fix(_compiled(template).environment, self._today)
            written = str(
                self.tokenizer.apply_chat_template(
                    [dict(message) for message in messages],
                    tokenize=False,
                    add_generation_prompt=prompt,
                    **settings.kwargs,
                )
            )
        added = len(written) - sum(len(message["content"]) for message in messages)
        if added > _LONGEST:
            raise ValueError(f"it writes {added} characters around the messages")
        return written

    def _today(self, form: str) -> str:
        self._told_the_date = True
        return datetime.fromisoformat(self._settings().date).strftime(form)

    def _check_kwargs(self, template: str, kwargs: Mapping[str, Any]) -> None:
        """A value that the template does not read would be without effect."""
        from jinja2 import meta

        environment = _compiled(template).environment
        read = meta.find_undeclared_variables(environment.parse(template)) - _GIVEN - set(environment.globals)
        for key in kwargs:
            if key not in read:
                near = difflib.get_close_matches(key, sorted(read), 1)
                hint = f"did you mean {near[0]!r}?" if near else f"it reads: {', '.join(sorted(read)) or 'none'}."
                raise AtlasError(
                    f"models.{self.model}.chat_template_kwargs: the model's chat template reads no {key!r}; {hint}"
                )

    def _check_thinking(self, after: str, said: ChatOption) -> None:
        opened = [found.start() for found in _OPENS.finditer(after)]
        closed = [found.start() for found in _CLOSES.finditer(after)]
        if opened and opened[-1] > max(closed, default=-1):
            word = _OPENS.findall(after)[-1]
            self._refuse(
                said,
                f"chat template opens a thinking block ({word}) and leaves it open, so that an answer would be a "
                f"thought",
                f"close it by models.{self.model}.chat_template_kwargs (such as {{enable_thinking: false}}, where the "
                "template reads that)",
            )

    def _explain(self, messages: Messages, said: ChatOption, error: Exception) -> NoReturn:
        """AtlasError for a template that failed: is it the system message?"""
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
        others = [message for message in messages if message["role"] != "system"]
        if len(others) < len(messages):
            try:
                self._rendered(others)
            except Exception:  # not the system message alone
                pass
            else:
                self._refuse(
                    said, f"chat template refuses the system message ({reason})", said.without_system(self.model)
                )
        name = type(error).__name__
        self._refuse(said, f"chat template fails ({name if reason == name else f'{name}: {reason}'})")

    def _left_out(self, role: str, said: ChatOption) -> NoReturn:
        if role == "system":
            self._refuse(
                said, "chat template leaves out or changes the system message", said.without_system(self.model)
            )
        self._refuse(said, f"chat template changes the {role}'s text")

    def _refuse(self, said: ChatOption, what: str, instead: str = "") -> NoReturn:
        line = f"write {own_options(self.model, said.analysis, said.key, said.other)}"
        advice = f"{instead}, or {line}" if instead else line
        raise AtlasError(f"{said.name} is chat, but model {self.model}'s {what}; {advice}.") from None


def _compiled(template: str) -> jinja2.Template:
    """The compiled template that transformers renders; it keeps one for each text."""
    from transformers.utils.chat_template_utils import _compile_jinja_template

    return _compile_jinja_template(template)


def _refuse_powers(template: str) -> None:
    """Raises ValueError for a product of two numbers that a template has made: a few lines of those keep a processor
    busy for days within one step of Python's, which no budget can end."""
    from jinja2 import nodes

    tree = _compiled("").environment.parse(template)  # not compiled, for which jinja2 reckons what is constant
    for product in tree.find_all((nodes.Mul, nodes.Pow)):
        small = (
            isinstance(one, nodes.Const) and abs(_number(one.value)) <= _FACTOR for one in (product.left, product.right)
        )
        if isinstance(product, nodes.Pow) or not any(small):
            raise ValueError(f"it multiplies what it has made itself, in line {product.lineno}")


def _number(value: object) -> float:
    return value if isinstance(value, (int, float)) else _FACTOR + 1


def _fix(environment: jinja2.Environment, today: Any) -> None:
    """Let nothing into a template that stands in no file: today's date, and what is drawn at random."""
    import jinja2

    def drawn(*_: object, **__: object) -> NoReturn:
        raise jinja2.TemplateError("it draws at random")

    environment.globals.update(strftime_now=today, lipsum=drawn)
    environment.filters["random"] = drawn
