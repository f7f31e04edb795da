"""Judges: the offline stand-in, columns of the data, and a language model behind a server that misbehaves."""

import contextlib
import http.server
import json
import logging
import threading
import time

import numpy as np
import pandas as pd
import pytest

from atlas.analyses.mink.judges import NO_SCORE, judge
from atlas.analyses.mink.judges.api import api_scores, parse_score
from atlas.analyses.mink.judges.reference import reference_scores
from atlas.errors import AtlasError

KEY = "sk-secret-4711"
ASKED = [(f"question {i}?", f"gold {i}", f"answer {i}") for i in range(4)]


# ------------------------------------------------------------------------------------------------------------- server
@contextlib.contextmanager
def server(respond):
    """A chat endpoint; respond(number of the request from 0, body) -> (status, headers, text of the answer) or None."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append({"time": time.monotonic(), "path": self.path, "body": body, "headers": self.headers})
            status, headers, text = respond(len(seen) - 1, body)
            message = {"role": "assistant", "content": text}
            reply = {"id": "x", "object": "chat.completion", "created": 0, "model": "m"}
            reply["choices"] = [{"index": 0, "finish_reason": "stop", "message": message}]
            payload = json.dumps(reply if status == 200 else {"error": {"message": text}}).encode()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

        def log_message(self, *arguments):
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}/v1", seen
    finally:
        httpd.shutdown()
        httpd.server_close()


@contextlib.contextmanager
def raw_server(status, text):
    """An endpoint that answers everything with `status` and `text` as they are; gives its base_url."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Type", "application/json" if text.startswith("{") else "text/html")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}/v1"
        httpd.shutdown()


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", KEY)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def settings(url, **changes):
    base = {
        "base_url": url, "model": "m", "key_env": "JUDGE_KEY", "timeout": 5, "retries": 3, "repeats": 2,
        "concurrency": 1, "max_tokens": 64,
    }  # fmt: skip
    return {**base, **changes}


def good(number, body):
    return 200, {}, f"Fine.\n[RESULT] {1 + number % 5}"


# --------------------------------------------------------------------------------------------------------------- api
REFUSES = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."


def test_a_judge_that_refuses_a_parameter_is_quoted_and_can_be_asked_without_it(tmp_path):
    def strict(number, body):
        return (400, {}, REFUSES) if {"max_tokens", "temperature"} & body.keys() else (200, {}, "[RESULT] 3")

    with server(strict) as (url, seen):
        with pytest.raises(AtlasError) as caught:
            api_scores(ASKED[:1], settings(url), tmp_path)
        assert f"refuses the request with status 400 ({REFUSES[:-1]}); set what it names under" in str(caught.value)
        assert "analyses.mink.judge.api.request" in str(caught.value)
        assert len(seen) == 1, "asking again would change nothing"
        request = {"max_tokens": None, "temperature": None, "max_completion_tokens": 77}
        assert api_scores(ASKED[:1], settings(url, request=request), tmp_path).tolist() == [3]
        assert seen[1]["body"].keys() == {"model", "messages", "max_completion_tokens"}
        assert seen[1]["body"]["max_completion_tokens"] == 77


@pytest.mark.parametrize("reason", [
    {"detail": "no such parameter"}, {"error": "no such parameter"}, {"message": "no such parameter"},
    {"error": {"message": "no such parameter"}},
])  # fmt: skip
@pytest.mark.parametrize("status", [400, 404, 422, 503])
def test_whatever_the_form_of_a_refusal_its_sentence_is_told_without_the_key(tmp_path, reason, status):
    text = json.dumps(reason).replace("no such", f"{KEY}: no such")
    with raw_server(status, text) as url, pytest.raises(AtlasError) as caught:
        api_scores(ASKED[:1], settings(url, retries=0), tmp_path)
    assert f"status {status}" in str(caught.value)
    assert "(<key>: no such parameter)" in str(caught.value)
    assert KEY not in str(caught.value)


def test_a_refusal_of_several_parts_is_told_whole(tmp_path):
    text = json.dumps({"detail": [{"loc": ["body", "max_tokens"], "msg": "extra inputs are not permitted"}]})
    with raw_server(422, text) as url, pytest.raises(AtlasError, match=r'"max_tokens".*extra inputs are not permitted'):
        api_scores(ASKED[:1], settings(url), tmp_path)


def test_a_refusal_that_is_no_json_is_told(tmp_path):
    with raw_server(404, "<html>\nnot\nhere</html>") as url, pytest.raises(AtlasError, match="<html> not here</html>"):
        api_scores(ASKED[:1], settings(url), tmp_path)


@pytest.mark.parametrize("text", ["sk secret", "sk-1\n", "schlüssel"])
def test_what_is_no_key_is_refused_before_anything_is_sent(tmp_path, monkeypatch, text):
    monkeypatch.setenv("JUDGE_KEY", text)
    with server(good) as (url, seen), pytest.raises(AtlasError, match="key_env: what the variable JUDGE_KEY holds"):
        api_scores(ASKED[:1], settings(url), tmp_path)
    assert not seen


def test_scores_come_back_in_order_and_a_rerun_asks_nothing(tmp_path):
    def by_question(number, body):
        which = int(body["messages"][1]["content"].split("question ")[1][0])
        time.sleep(0.05 * (3 - which))  # the first question is answered last
        return 200, {}, f"[RESULT] {which + 1}"

    with server(by_question) as (url, seen):
        options = settings(url, concurrency=4)
        assert api_scores(ASKED, options, tmp_path).tolist() == [1, 2, 3, 4]
        assert len(seen) == 4
        assert api_scores(ASKED, options, tmp_path).tolist() == [1, 2, 3, 4]
        assert len(seen) == 4
        api_scores([(*ASKED[0][:2], "another answer")], options, tmp_path)
        assert len(seen) == 5
    assert seen[0]["path"] == "/v1/chat/completions"
    assert seen[0]["body"]["temperature"] == 0
    assert seen[0]["body"]["max_tokens"] == 64
    assert seen[0]["headers"]["Authorization"] == f"Bearer {KEY}"


def test_the_same_answer_twice_is_asked_once(tmp_path):
    with server(good) as (url, seen):
        assert api_scores([ASKED[0]] * 3, settings(url, concurrency=3), tmp_path).tolist() == [1, 1, 1]
        assert len(seen) == 1


def test_errors_of_the_server_are_retried_and_retry_after_is_obeyed(tmp_path):
    def flaky(number, body):
        if number == 0:
            return 500, {}, "broken"
        if number == 1:
            return 429, {"Retry-After": "1"}, "slow down"
        if number == 2:
            return 503, {}, "overloaded"
        return 200, {}, "[RESULT] 4"

    with server(flaky) as (url, seen):
        assert api_scores(ASKED[:1], settings(url), tmp_path).tolist() == [4]
        assert len(seen) == 4
        assert seen[2]["time"] - seen[1]["time"] >= 0.95


def test_a_slow_answer_is_given_up_and_asked_for_again(tmp_path):
    def slow_once(number, body):
        if number == 0:
            time.sleep(1.5)
        return 200, {}, "[RESULT] 2"

    with server(slow_once) as (url, seen):
        assert api_scores(ASKED[:1], settings(url, timeout=0.4), tmp_path).tolist() == [2]
        assert len(seen) == 2


def test_an_answer_without_a_score_is_asked_for_again_then_counted(tmp_path):
    texts = ["I cannot say.", "[RESULT] 7", "[RESULT] 3", "no", "no", "no"]
    with server(lambda number, body: (200, {}, texts[number])) as (url, seen):
        found = api_scores(ASKED[:2], settings(url), tmp_path)
        assert found[0] == 3
        assert np.isnan(found[1])
        assert len(seen) == 6
        api_scores(ASKED[:2], settings(url), tmp_path)
        assert len(seen) == 6  # the outcome without a score is kept too


def test_an_endpoint_that_stays_down_is_an_error_and_answers_so_far_are_kept(tmp_path):
    def dies(number, body):
        return (200, {}, "[RESULT] 5") if number < 2 else (500, {}, "broken")

    with server(dies) as (url, _):
        options = settings(url, retries=1)
        with pytest.raises(AtlasError, match="status 500, not even after 1 retries; answers so far are kept"):
            api_scores(ASKED, options, tmp_path)
    assert len(list(tmp_path.rglob("*.json"))) == 2
    with pytest.raises(AtlasError, match="cannot be reached"):
        api_scores(ASKED, options, tmp_path)  # nobody listens there any more
    assert api_scores(ASKED[:2], options, tmp_path).tolist() == [5, 5]


def test_a_refused_key_is_not_retried_and_never_shown(tmp_path, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    with server(lambda number, body: (401, {}, "bad key")) as (url, seen):
        with pytest.raises(AtlasError, match="key_env") as caught:
            api_scores(ASKED, settings(url), tmp_path)
        assert len(seen) == 1
    with server(good) as (url, _):
        api_scores(ASKED, settings(url), tmp_path)
    shown = [str(caught.value), caplog.text, *capsys.readouterr(), *(f.read_text() for f in tmp_path.rglob("*.json"))]
    assert not any(KEY in text for text in shown)


def test_a_missing_key_is_an_error_and_no_key_is_a_choice(tmp_path, monkeypatch):
    monkeypatch.delenv("JUDGE_KEY")
    with server(good) as (url, _):
        with pytest.raises(AtlasError, match="JUDGE_KEY is not set"):
            api_scores(ASKED, settings(url), tmp_path)
        assert api_scores(ASKED[:1], settings(url, key_env=None), tmp_path).tolist() == [1]


def test_a_server_of_another_kind_is_named(tmp_path):
    class Plain(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, *arguments):
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Plain)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    try:
        with pytest.raises(AtlasError, match="chat protocol"):
            api_scores(ASKED[:1], settings(f"http://127.0.0.1:{httpd.server_port}/v1"), tmp_path)
    finally:
        httpd.shutdown()
        httpd.server_close()


def test_a_damaged_file_of_the_cache_is_asked_for_again(tmp_path):
    with server(good) as (url, seen):
        api_scores(ASKED[:1], settings(url), tmp_path)
        next(tmp_path.rglob("*.json")).write_text('{"score"')
        api_scores(ASKED[:1], settings(url), tmp_path)
        assert len(seen) == 2


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Good.\n[RESULT] 3", 3), ("[RESULT] 5", 5), ("[RESULT] (4)", 4), ("[RESULT]: 4", 4), ("ok [RESULT] 2/5", 2),
        ("[RESULT] 4.\n", 4), ("[RESULT] 0", None), ("[RESULT] 6", None), ("[RESULT] 4.5", None), ("[RESULT] 35", None),
        ("Score 4", None), ("[RESULT] 3\n[RESULT] 4", None), ("[RESULT] 3\nbut maybe 4", None), ("", None),
        (None, None),
    ],
)  # fmt: skip
def test_scores_are_parsed_strictly(text, score):
    assert parse_score(text) == score


# ------------------------------------------------------------------------------------------------- reference, column
def test_the_reference_judge_is_rouge_l_from_1_to_5():
    same, half, none = reference_scores(
        [("", "the cat sat", "The cat, sat!"), ("", "a b c d", "a x c y"), ("", "alpha", "beta")]
    )
    assert same == 5
    assert half == pytest.approx(1 + 4 * 0.5)  # longest common subsequence 2 of 4 and 4 words
    assert none == 1


def test_the_reference_judge_knows_words_not_truth():
    gold = "Water boils at a lower temperature on a mountain because the air pressure is lower."
    wrong = "Water boils at a higher temperature on a mountain because the air pressure is higher."
    right = "With less atmosphere above it, less heat is needed until vapour escapes."
    scores = reference_scores([("", gold, wrong), ("", gold, right)])
    assert scores[0] > 4 > 2 > scores[1]


def data():
    rows = [("a", 1, [], 4.0), ("b", 2, ["a"], np.nan), ("c", 3, ["b"], 2.0)]
    frame = pd.DataFrame(rows, columns=["id", "depth", "predecessors", "score_m"])
    return frame.assign(question="what is it", answer=["one", "two", "three"])


def test_judge_gives_a_row_for_every_answer():
    answers = pd.DataFrame({"number": [0, 2], "prediction": ["one", "seven"]})
    found = judge(data(), answers, {"kind": "reference"}, model="m")
    assert found["id"].tolist() == ["a", "c"]
    assert found["score"].tolist() == [5, 1]
    assert found["reason"].isna().all()


def test_columns_are_scores_of_the_data():
    found = judge(data(), None, {"kind": "column", "column": {"m": "score_m"}}, model="m")
    assert found["score"].tolist()[::2] == [4, 2]
    assert found["reason"].tolist()[1] == "no score in the data set"
    with pytest.raises(AtlasError, match="no column for model 'other'"):
        judge(data(), None, {"kind": "column", "column": {"m": "score_m"}}, model="other")
    with pytest.raises(AtlasError, match=r"no column 'score'.*score_m"):
        judge(data(), None, {"kind": "column", "column": "score"}, model="m")
    with pytest.raises(AtlasError, match="'a' is 7; scores go from 1 to 5"):
        judge(data().assign(score=7.0), None, {"kind": "column", "column": "score"}, model="m")


def test_a_judge_that_scores_nothing_is_an_error_and_one_that_misses_some_is_counted(tmp_path):
    answers = pd.DataFrame({"number": [0, 2], "prediction": ["one", "seven"]})
    with server(lambda number, body: (200, {}, "no idea")) as (url, _), pytest.raises(AtlasError, match="none of 2"):
        judge(data(), answers, {"kind": "api", "api": settings(url)}, model="m", cache=tmp_path / "a")
    texts = ["[RESULT] 4", "hm", "hm", "hm"]
    with server(lambda number, body: (200, {}, texts[number])) as (url, _):
        found = judge(data(), answers, {"kind": "api", "api": settings(url)}, model="m", cache=tmp_path / "b")
    assert found["reason"].tolist()[1] == NO_SCORE


def test_a_gold_answer_that_the_reference_judge_cannot_read_is_counted_and_not_scored():
    answers = pd.DataFrame({"number": [0, 2], "prediction": ["one", "🍎"]})
    table = data().assign(answer=["one", "two", "🍎"])
    found = judge(table, answers, {"kind": "reference"}, model="m")
    assert np.isnan(found["score"][1])
    assert found["reason"].tolist() == [None, "the gold answer is a text without a word"]
    with pytest.raises(AtlasError, match=r"none of 2 answers a score \(2 times the gold answer is a text without"):
        judge(data().assign(answer="?!"), answers, {"kind": "reference"}, model="m")
