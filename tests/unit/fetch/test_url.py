"""Downloads by URL against a local server: resumed, retried, refused, checked."""

import hashlib
import socket

import pytest

from atlas.errors import AtlasError
from atlas.fetch.url import download_url
from serving import Server

CONTENT = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server():
    with Server() as server:
        yield server


def fetch(url, target, sha256=SHA256, retries=3):
    return download_url(url, sha256, target, retries=retries, backoff=0.01)


def left_behind(folder):
    return sorted(path.name for path in folder.iterdir())


def test_downloads_and_leaves_nothing_else(server, tmp_path):
    target = fetch(server.add("/a.bin", CONTENT), tmp_path / "deep" / "a.bin")
    assert target.read_bytes() == CONTENT
    assert left_behind(tmp_path / "deep") == ["a.bin"]


def test_a_finished_file_is_not_asked_for_again(server, tmp_path):
    url = server.add("/a.bin", CONTENT)
    fetch(url, tmp_path / "a.bin")
    fetch(url, tmp_path / "a.bin")
    assert len(server.requests) == 1


def test_a_changed_file_is_fetched_anew(server, tmp_path):
    (tmp_path / "a.bin").write_bytes(b"other")
    fetch(server.add("/a.bin", CONTENT), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_cut_answer_is_resumed_within_one_call(server, tmp_path):
    url = server.add("/a.bin", CONTENT, cut_after=262_144, cuts=3)
    assert fetch(url, tmp_path / "a.bin", retries=1).read_bytes() == CONTENT
    assert [asked for *_, asked in server.requests] == [None, "bytes=262144-", "bytes=524288-", "bytes=786432-"]


def test_interrupted_download_resumes_in_the_next_call(server, tmp_path):
    url = server.add("/a.bin", CONTENT, cut_after=400_000, cuts=1)
    with pytest.raises(AtlasError, match=r"127\.0\.0\.1.*/a\.bin could not be downloaded after 1 tries"):
        fetch(url, tmp_path / "a.bin", retries=0)
    assert left_behind(tmp_path) == ["a.bin.part"]
    fetch(url, tmp_path / "a.bin")
    assert server.requests[-1] == ("GET", "/a.bin", "bytes=393216-")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_server_without_ranges_restarts(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:1000])
    assert fetch(server.add("/a.bin", CONTENT, ranges=False), tmp_path / "a.bin").read_bytes() == CONTENT


def test_part_of_another_version_restarts(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(b"x" * 5000)
    assert fetch(server.add("/a.bin", CONTENT), tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("extra", [0, 10])
def test_part_that_is_complete_or_too_long(server, tmp_path, extra):
    (tmp_path / "a.bin.part").write_bytes(CONTENT + b"x" * extra)
    assert fetch(server.add("/a.bin", CONTENT), tmp_path / "a.bin").read_bytes() == CONTENT


def test_wrong_hash_leaves_nothing_behind(server, tmp_path):
    with pytest.raises(AtlasError, match=rf"/a\.bin has sha256 {SHA256}, not the pinned 0000"):
        fetch(server.add("/a.bin", CONTENT), tmp_path / "a.bin", sha256="0" * 64)
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "asks for a login"), (403, "may not be read"), (404, "does not exist"), (418, "status 418")],
)
def test_refusals_are_final(server, tmp_path, status, words):
    with pytest.raises(AtlasError, match=rf"/a\.bin .*{words}"):
        fetch(server.add("/a.bin", status=status), tmp_path / "a.bin")
    assert len(server.requests) == 1
    assert left_behind(tmp_path) == []


def test_server_errors_are_retried(server, tmp_path):
    url = server.add("/a.bin", CONTENT, failures=[500, 503, 429])
    assert fetch(url, tmp_path / "a.bin").read_bytes() == CONTENT


def test_lasting_server_error(server, tmp_path):
    with pytest.raises(AtlasError, match=r"after 4 tries \(the server answered 500"):
        fetch(server.add("/a.bin", status=500), tmp_path / "a.bin")
    assert len(server.requests) == 4


def test_connection_refused(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(AtlasError, match=r"connection refused.*check the network"):
        fetch(f"http://127.0.0.1:{port}/a", tmp_path / "a", retries=1)


def test_unknown_host(tmp_path):
    with pytest.raises(AtlasError, match=r"nowhere\.invalid/a could not be downloaded"):
        fetch("http://nowhere.invalid/a", tmp_path / "a", retries=0)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/a", "/etc/hostname", "http:///a"])
def test_only_http(tmp_path, url):
    with pytest.raises(AtlasError, match="not an http or https address"):
        fetch(url, tmp_path / "a")


def test_redirect_is_followed_but_not_to_a_file(server, tmp_path):
    to = server.add("/a.bin", CONTENT)
    url = server.add("/moved", status=302, headers={"Location": to})
    assert fetch(url, tmp_path / "a.bin").read_bytes() == CONTENT
    url = server.add("/evil", status=302, headers={"Location": "file:///etc/hostname"})
    with pytest.raises(AtlasError, match="/evil cannot be requested"):
        fetch(url, tmp_path / "b.bin")


def test_secrets_of_an_address_stay_out_of_messages(server, tmp_path):
    url = server.add("/a.bin", status=403).replace("http://", "http://user:hunter2@") + "?signature=hunter3"
    with pytest.raises(AtlasError) as caught:
        fetch(url, tmp_path / "a.bin")
    assert "hunter" not in str(caught.value)
