"""What is carried in and out, without any engine."""

import io
import subprocess
import tarfile

import pytest

from tunlab.engines.images.build import image_tag
from tunlab.engines.project.archive import heavy, packed, project_files, unpacked
from tunlab.engines.suite_run import container_runner
from tunlab.engines.suite_run.runner import _Split


def tar(*entries):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in entries:
            entry = tarfile.TarInfo(name)
            if content is None:
                entry.type, entry.linkname = tarfile.SYMTYPE, "/etc"
            entry.size = len(content or b"")
            archive.addfile(entry, io.BytesIO(content or b""))
    buffer.seek(0)
    return buffer


class TestTheProject:
    def test_as_git_knows_it(self, tmp_path, need):
        for name in ("kept.py", "new.py", "ignored.log", "deleted.py"):
            (tmp_path / name).write_text(name)
        (tmp_path / ".gitignore").write_text("*.log\n")
        for command in (["init", "-q"], ["add", "kept.py", "deleted.py", ".gitignore"]):
            subprocess.run([need("git"), *command], cwd=tmp_path, check=True)
        (tmp_path / "deleted.py").unlink()
        assert project_files(tmp_path) == [".gitignore", "kept.py", "new.py"]

    def test_without_git_all_but_junk(self, tmp_path):
        for name in ("a.py", "sub/b.py", "__pycache__/a.pyc", "env/pyvenv.cfg", "env/bin/python", "node_modules/x"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(name)
        assert project_files(tmp_path) == ["a.py", "sub/b.py"]

    def test_all_of_it_is_roots_inside(self, tmp_path):
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "run.sh").write_text("x")
        (tmp_path / "sub" / "run.sh").chmod(0o750)
        (tmp_path / "link").symlink_to("sub/run.sh")
        with tarfile.open(fileobj=io.BytesIO(packed(tmp_path, ["link", "sub/run.sh"]))) as archive:
            found = {entry.name: entry for entry in archive}
        assert sorted(found) == ["link", "sub", "sub/run.sh"]
        assert {(entry.uid, entry.gid) for entry in found.values()} == {(0, 0)}
        assert found["sub/run.sh"].mode == 0o750
        assert found["link"].issym()

    def test_much_of_it_is_worth_a_word(self, tmp_path):
        for name, size in {"tiny.py": 1, "data/day/a": 30_000_000, "data/day/b": 19_000_000, "film": 999_999}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            with (tmp_path / name).open("wb") as file:
                file.truncate(size)
        names = project_files(tmp_path)
        assert heavy(tmp_path, names) == ""
        (tmp_path / "drop").write_text("x")
        assert heavy(tmp_path, [*names, "drop", "gone"]).startswith(
            "the project's files are 50 MB, held in memory and carried in at each run (data/day 49 MB, . 1 MB): let git"
        )


class TestWhatComesBack:
    def test_below_its_directory(self, tmp_path):
        archive = tar(("project/a/b.txt", b"b"), ("outside/0", b"0"))
        assert unpacked(archive, tmp_path, below="project") == [tmp_path / "a" / "b.txt"]
        archive.seek(0)
        assert unpacked(archive, tmp_path / "zero.txt", below="outside/0") == [tmp_path / "zero.txt"]
        assert (tmp_path / "zero.txt").read_bytes() == b"0"

    @pytest.mark.parametrize("name", ["project/../evil", "/evil", "evil", "project/a/../../evil", "projectile/x"])
    def test_a_name_that_leaves_it_is_passed_over(self, tmp_path, name):
        (tmp_path / "root").mkdir()
        assert unpacked(tar((name, b"x")), tmp_path / "root", below="project") == []
        assert [path.name for path in tmp_path.rglob("*")] == ["root"]

    def test_nor_is_a_link_followed_or_made(self, tmp_path):
        (tmp_path / "root").mkdir()
        (tmp_path / "secret").write_text("kept")
        (tmp_path / "root" / "file").symlink_to(tmp_path / "secret")
        (tmp_path / "root" / "out").symlink_to(tmp_path)
        archive = tar(("project/file", b"x"), ("project/out/new", b"x"), ("project/made", None))
        assert unpacked(archive, tmp_path / "root", below="project") == []
        assert (tmp_path / "secret").read_text() == "kept"
        assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_the_end_is_found_wherever_the_output_is_cut(size):
    end = container_runner.end_of_output("word")
    whole = b"out\0put \0tunlab-no " + end[:5] + b" more\n"
    split, shown, status = _Split(end), b"", None
    sent = whole + end + b"42\n"
    for start in range(0, len(sent), size):
        assert status is None
        piece, status = split.take(sent[start : start + size])
        shown += piece
    assert (shown, status) == (whole, 42)


def test_what_looked_like_the_end_is_shown_in_the_end():
    split = _Split(container_runner.end_of_output("word"))
    assert split.take(b"x\0tunlab-") == (b"x", None)
    assert split.rest() == b"\0tunlab-"


def test_a_tag_is_the_content():
    context, arguments = {"a": b"1", "b": b"2"}, {"BASE_IMAGE": "x"}
    tags = {
        image_tag("n", context, arguments),
        image_tag("n", {"a": b"12", "b": b""}, arguments),
        image_tag("n", {"a": b"1"}, arguments),
        image_tag("n", context, {"BASE_IMAGE": "y"}),
        image_tag("n", context, {}),
    }
    assert len(tags) == 5
    assert image_tag("n", dict(reversed(context.items())), arguments) in tags
