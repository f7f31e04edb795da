"""A language model as the judge, behind any endpoint that speaks OpenAI's chat protocol.

Each answer is kept in a folder under the hash of what was asked, as it arrives: a rerun asks nothing twice, and a run
that breaks off loses nothing. The key is read from an environment variable and goes nowhere but into the request.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypeAlias, TypedDict

import numpy as np

from atlas.errors import AtlasError
from atlas.results.files import replacing

if TYPE_CHECKING:
    from jaxtyping import Float
    from openai import APIStatusError, OpenAI

SYSTEM = "You grade answers to questions. You are strict and fair, and you judge facts, not style or length."
PROMPT = """Grade the answer below by how correct it is, on this scale:
1: wrong, or it misses the point of the question.
2: partly right, with serious errors.
3: right in the main, with smaller errors or important gaps.
4: right, with at most a minor slip or gap.
5: fully right, nothing of substance is wrong or missing.
The reference answer would get a 5. Say in a few sentences what is right and what is wrong. Then end with a line that
holds nothing but [RESULT] and the grade, for example: [RESULT] 3

### Question
{question}

### Reference answer
{gold}

### Answer to grade
{answer}
"""
_ADDRESS = ("base_url", "model", "messages")
# Where endpoints put their reason.
_SENTENCE = ("error", "message", "detail", "msg")
# Strict: the last line is the mark and one whole number from 1 to 5, and there is no other mark before it.
_RESULT = re.compile(r"\[RESULT\]\s*:?\s*\(?([1-5])\)?(?:\s*/\s*5)?\s*\.?")


class ApiOptions(TypedDict):
    """The block analyses.mink.judge.api; timeout in seconds."""

    base_url: str
    model: str
    key_env: str | None
    timeout: float
    retries: int
    repeats: int
    concurrency: int
    max_tokens: int
    request: NotRequired[dict[str, Any]]


# What is asked, and of whom: base_url, model, messages, and the parameters of the request. Its hash names the file of
# the answer.
Request: TypeAlias = dict[str, Any]


class Kept(TypedDict):
    """The grade (None: no answer held one), and every answer as it arrived."""

    score: int | None
    answers: list[str]


Progress: TypeAlias = Callable[[Iterable[Future]], Iterable[Future]]


def parse_score(text: str | None) -> int | None:
    """The grade (int) in a judge's answer, or None where the answer does not end as it was asked to."""
    text = text or ""
    lines = text.strip().splitlines()
    if not lines or text.count("[RESULT]") != 1:
        return None
    found = _RESULT.fullmatch(lines[-1][lines[-1].find("[RESULT]") :].strip()) if "[RESULT]" in lines[-1] else None
    return int(found[1]) if found else None


def api_scores(
    asked: Sequence[tuple[str, str, str]], settings: ApiOptions, cache: str | Path, *, progress: Progress = iter
) -> Float[np.ndarray, " answers"]:
    """Scores (N,) of [(question, gold answer, answer)], NaN where the judge gave no grade even when asked again.

    cache: folder for the judge's answers. Raises AtlasError if the endpoint cannot be reached or refuses; what was
    answered until then is kept.
    """
    cache = Path(cache)
    cache.mkdir(parents=True, exist_ok=True)
    requests = [_request(settings, *item) for item in asked]
    files = [_file(cache, request) for request in requests]
    kept = {file: _kept(file) for file in files}
    missing = {file: request for file, request in zip(files, requests, strict=True) if kept[file] is None}
    if missing:
        client, broken = _client(settings), threading.Event()

        def work(file: Path, request: Request) -> Kept | None:
            if broken.is_set():  # the run has failed: ask nothing more
                return None
            try:
                return _ask(client, request, settings["repeats"], file)
            except BaseException:
                broken.set()
                raise

        with concurrent.futures.ThreadPoolExecutor(settings["concurrency"]) as pool:
            jobs = {pool.submit(work, file, request): file for file, request in missing.items()}
            try:
                for job in progress(concurrent.futures.as_completed(jobs)):
                    kept[jobs[job]] = job.result()
            except BaseException:  # an interruption too: what has not been asked yet is not asked any more
                broken.set()
                raise
    scores = [found["score"] for file in files if (found := kept[file]) is not None]
    return np.array([np.nan if score is None else score for score in scores], dtype=float)


def _request(settings: ApiOptions, question: str, gold: str, answer: str) -> Request:
    prompt = PROMPT.format(question=question, gold=gold, answer=answer)
    parameters = {"temperature": 0, "max_tokens": settings["max_tokens"], **settings.get("request", {})}
    return {
        "base_url": settings["base_url"],
        "model": settings["model"],
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt}],
        **{name: value for name, value in parameters.items() if value is not None},
    }


def _file(cache: Path, request: Request) -> Path:
    key = hashlib.sha256(json.dumps(request, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    return cache / key[:2] / f"{key}.json"


def _kept(file: Path) -> Kept | None:
    """{"score", "answers"} of a request that was answered before, or None."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        return kept if "score" in kept else None
    except (OSError, ValueError, TypeError):
        return None


def _client(settings: ApiOptions) -> OpenAI:
    import openai

    # It logs each request with its URL; the jobs' own log is enough.
    for name in ("openai", "httpx", "httpx2", "httpcore", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    variable = settings["key_env"]
    key = os.environ.get(variable) if variable else "none"
    if not key:
        raise AtlasError(
            f"analyses.mink.judge.api.key_env: the variable {variable} is not set; export the key there, or "
            "set key_env to null for an endpoint without one."
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise AtlasError(
            f"analyses.mink.judge.api.key_env: what the variable {variable} holds is no key (there are spaces, line "
            "breaks or other characters than ASCII in it); export the key alone."
        )
    return openai.OpenAI(
        base_url=settings["base_url"],
        api_key=key,
        organization="",  # not from the environment: only what the configuration names is sent
        project="",
        timeout=settings["timeout"],
        max_retries=settings["retries"],  # connection errors, timeouts, 408, 409, 429 (after Retry-After), 5xx
    )


def _ask(client: OpenAI, request: Request, repeats: int, file: Path) -> Kept:
    """{"score", "answers"}, kept in `file`; asks again up to `repeats` times where an answer holds no grade."""
    import openai

    answers: list[str] = []
    score = None

    where = f"analyses.mink.judge.api: {request['base_url']}"
    for _ in range(1 + repeats):
        try:
            reply = client.chat.completions.create(
                model=request["model"],
                messages=request["messages"],
                extra_body={name: value for name, value in request.items() if name not in _ADDRESS},
            )
            answers.append(reply.choices[0].message.content or "")
        except openai.APITimeoutError as error:
            raise AtlasError(
                f"{where} did not answer in time, {_tries(client)}; raise timeout or try later."
            ) from error
        except openai.APIConnectionError as error:
            raise AtlasError(
                f"{where} cannot be reached, {_tries(client)}; check base_url and the network. Answers so far are kept."
            ) from error
        except openai.AuthenticationError as error:
            raise AtlasError(f"{where} refuses the key in the variable that key_env names; correct it.") from error
        except openai.APIStatusError as error:
            raise AtlasError(f"{where} {_refusal(error, client)}") from error
        except (openai.OpenAIError, AttributeError, IndexError, TypeError, ValueError) as error:
            raise AtlasError(
                f"{where} does not answer in OpenAI's chat protocol ({type(error).__name__}); check base_url."
            ) from error
        score = parse_score(answers[-1])
        if score is not None:
            break
    kept: Kept = {"score": score, "answers": answers}
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(kept, ensure_ascii=False), encoding="utf-8")
    return kept


def _refusal(error: APIStatusError, client: OpenAI) -> str:
    """What the endpoint says of a request that it does not answer, and the option to change."""
    status = error.status_code
    said = _said(error, client.api_key)
    if status in (400, 422):
        return (
            f"refuses the request with status {status} ({said}); set what it names under "
            "analyses.mink.judge.api.request, where null leaves a parameter out, as in {max_tokens: null, "
            "max_completion_tokens: 512}."
        )
    if status in (408, 409, 429) or status >= 500:
        return (
            f"answers with status {status}, {_tries(client)}; answers so far are kept, so run again later, or correct "
            f"model and base_url ({said})."
        )
    return f"answers with status {status} ({said}); correct model and base_url, or what the key may ask."


def _said(error: APIStatusError, key: str) -> str:
    """The endpoint's own sentence, however it wraps it, on one line and without the key."""
    found: Any = error.body if error.body else error.response.text
    while isinstance(found, dict) and (inner := next((found[name] for name in _SENTENCE if found.get(name)), None)):
        found = inner
    text = " ".join((found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)).split())
    return text.replace(key, "<key>")[:300].rstrip(".") or "no reason given"


def _tries(client: OpenAI) -> str:
    return f"not even after {client.max_retries} retries" if client.max_retries else "and retries are off"
