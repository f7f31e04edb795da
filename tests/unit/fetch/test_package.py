"""Wheels as data: the download by pip from a local index, and hostile zips."""

import hashlib
import stat
import zipfile

import pytest

from atlas.errors import AtlasError
from atlas.fetch.package import download_package, extract_members
from serving import Server


def sha(content):
    return hashlib.sha256(content).hexdigest()


def make_wheel(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def toy_wheel(path, version="1.0"):
    info = f"toy-{version}.dist-info"
    metadata = (
        f"Metadata-Version: 2.1\nName: toy\nVersion: {version}\nRequires-Python: >=99\nRequires-Dist: not-there\n"
    )
    tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    members = [
        ("toy/data.txt", "hello"),
        (f"{info}/METADATA", metadata),
        (f"{info}/WHEEL", tags),
        (f"{info}/RECORD", ""),
    ]
    return make_wheel(path, members)


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A package index with toy 1.0, known to pip by its usual configuration."""
    wheel = toy_wheel(tmp_path / "toy-1.0-py3-none-any.whl").read_bytes()
    with Server() as server:
        server.add("/files/toy-1.0-py3-none-any.whl", wheel)
        link = b'<a href="/files/toy-1.0-py3-none-any.whl">toy-1.0-py3-none-any.whl</a>'
        page = b"<!DOCTYPE html><html><body>" + link + b"</body></html>"
        server.add("/simple/toy/", page, headers={"Content-Type": "text/html"})
        monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple/")
        monkeypatch.setenv("PIP_RETRIES", "0")
        monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
        monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
        server.sha256 = sha(wheel)
        yield server


def test_package_is_downloaded_as_data(index, tmp_path):
    target = download_package("toy", "1.0", index.sha256, tmp_path / "out" / "toy.whl")
    assert sha(target.read_bytes()) == index.sha256
    assert [path.name for path in target.parent.iterdir()] == ["toy.whl"]
    asked = len(index.requests)
    download_package("toy", "1.0", index.sha256, target)
    assert len(index.requests) == asked


def test_package_with_wrong_hash_leaves_nothing(index, tmp_path):
    with pytest.raises(AtlasError, match=r"wheel of package toy==1\.0 has sha256"):
        download_package("toy", "1.0", "0" * 64, tmp_path / "out" / "toy.whl")
    assert list((tmp_path / "out").iterdir()) == []


def test_unknown_version_names_known_ones(index, tmp_path):
    with pytest.raises(AtlasError, match=r"package toy==2\.0 does not exist as a wheel: known versions end with 1\.0"):
        download_package("toy", "2.0", "0" * 64, tmp_path / "out" / "toy.whl")


def test_unknown_package(index, tmp_path):
    with pytest.raises(AtlasError, match=r"package nonesuch==1\.0 is not in the package index"):
        download_package("nonesuch", "1.0", "0" * 64, tmp_path / "out" / "toy.whl")


def test_no_network(index, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://user:hunter2@127.0.0.1:9/simple/")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(AtlasError, match="index is not reachable") as caught:
        download_package("toy", "1.0", index.sha256, tmp_path / "out" / "toy.whl")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("name", "version"), [("--index-url=x", "1.0"), ("toy", "1.0 --pre"), ("toy", ">=1")])
def test_names_cannot_smuggle_options(tmp_path, name, version):
    with pytest.raises(AtlasError, match=r"is not a (package name|version)"):
        download_package(name, version, "0" * 64, tmp_path / "toy.whl")


def test_members_are_flattened_and_checked(tmp_path):
    wheel = make_wheel(tmp_path / "w.whl", [("a/b/data.csv", "x"), ("a/other.txt", "y")])
    paths = extract_members(wheel, {"a/b/data.csv": sha(b"x"), "a/other.txt": sha(b"y")}, tmp_path / "out")
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == ["out/data.csv", "out/other.txt"]
    assert paths[0].read_bytes() == b"x"


@pytest.mark.parametrize(
    "member", ["../evil.txt", "/abs/evil.txt", "a/../../evil.txt", "a\\..\\evil.txt", "C:/evil.txt"]
)
def test_members_never_leave_the_folder(tmp_path, member):
    wheel = make_wheel(tmp_path / "w.whl", [(member, "evil")])
    with pytest.raises(AtlasError, match="points outside the package"):
        extract_members(wheel, {member: sha(b"evil")}, tmp_path / "out" / "deep")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["w.whl"]


def test_link_is_refused(tmp_path):
    link = zipfile.ZipInfo("a/link.txt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    wheel = make_wheel(tmp_path / "w.whl", [(link, "/etc/hostname")])
    with pytest.raises(AtlasError, match="folder or a link"):
        extract_members(wheel, {"a/link.txt": sha(b"/etc/hostname")}, tmp_path / "out")


def test_missing_member_suggests_the_nearest(tmp_path):
    wheel = make_wheel(tmp_path / "w.whl", [("a/validation/data.csv", "x"), ("b.txt", "y")])
    with pytest.raises(
        AtlasError, match=r"w\.whl has no file 'a/validaton/data.csv' \(nearest: a/validation/data.csv\)"
    ):
        extract_members(wheel, {"a/validaton/data.csv": sha(b"x")}, tmp_path / "out")


def test_two_files_of_one_name(tmp_path):
    wheel = make_wheel(tmp_path / "w.whl", [("a/x.csv", "1"), ("b/x.csv", "2")])
    with pytest.raises(AtlasError, match=r"both called x\.csv"):
        extract_members(wheel, {"a/x.csv": sha(b"1"), "b/x.csv": sha(b"2")}, tmp_path / "out")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_member_stored_twice(tmp_path):
    wheel = make_wheel(tmp_path / "w.whl", [("a.txt", "1"), ("a.txt", "2")])
    with pytest.raises(AtlasError, match="2 times"):
        extract_members(wheel, {"a.txt": sha(b"2")}, tmp_path / "out")


def test_wrong_member_hash_removes_the_others_too(tmp_path):
    wheel = make_wheel(tmp_path / "w.whl", [("a.txt", "1"), ("b.txt", "2")])
    with pytest.raises(AtlasError, match=r"b\.txt in w\.whl has sha256"):
        extract_members(wheel, {"a.txt": sha(b"1"), "b.txt": sha(b"1")}, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_cut_off_and_missing_wheels(tmp_path):
    wheel = make_wheel(tmp_path / "w.whl", [("a.txt", "1" * 1000)])
    wheel.write_bytes(wheel.read_bytes()[:60])
    with pytest.raises(AtlasError, match="not a readable wheel"):
        extract_members(wheel, {"a.txt": sha(b"1")}, tmp_path / "out")
    with pytest.raises(AtlasError, match="does not exist"):
        extract_members(tmp_path / "none.whl", {"a.txt": sha(b"1")}, tmp_path / "out")


def test_damaged_bytes_inside_the_wheel(tmp_path):
    wheel = make_wheel(tmp_path / "w.whl", [("a.txt", bytes(range(256)) * 40)])
    data = bytearray(wheel.read_bytes())
    data[60] ^= 0xFF
    wheel.write_bytes(data)
    with pytest.raises(AtlasError, match=r"not a readable wheel|has sha256"):
        extract_members(wheel, {"a.txt": sha(bytes(range(256)) * 40)}, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
