"""Tests of the project's files, archives, the output's end marker and image tags. They need no engine."""

import io
import subprocess
import tarfile

import pytest

from tunlab.engines.images.build import image_tag
from tunlab.engines.project.archive import pack, project_files, size_warning, unpack
from tunlab.engines.suite_run import container_runner
from tunlab.engines.suite_run.runner import _OutputSplitter


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


class TestProjectFiles:
    def test_project_files_in_git_repository_exclude_ignored_and_deleted_files(self, tmp_path, need):
        for name in ("kept.py", "new.py", "ignored.log", "deleted.py"):
            (tmp_path / name).write_text(name)
        (tmp_path / ".gitignore").write_text("*.log\n")
        for command in (["init", "-q"], ["add", "kept.py", "deleted.py", ".gitignore"]):
            subprocess.run([need("git"), *command], cwd=tmp_path, check=True)
        (tmp_path / "deleted.py").unlink()
        assert project_files(tmp_path) == [".gitignore", "kept.py", "new.py"]

    def test_project_files_without_git_exclude_caches_and_virtual_environments(self, tmp_path):
        for name in ("a.py", "sub/b.py", "__pycache__/a.pyc", "env/pyvenv.cfg", "env/bin/python", "node_modules/x"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(name)
        assert project_files(tmp_path) == ["a.py", "sub/b.py"]

    def test_packed_archive_has_owner_root_and_keeps_file_modes_and_links(self, tmp_path):
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "run.sh").write_text("x")
        (tmp_path / "sub" / "run.sh").chmod(0o750)
        (tmp_path / "link").symlink_to("sub/run.sh")
        with tarfile.open(fileobj=io.BytesIO(pack(tmp_path, ["link", "sub/run.sh"]))) as archive:
            found = {entry.name: entry for entry in archive}
        assert sorted(found) == ["link", "sub", "sub/run.sh"]
        assert {(entry.uid, entry.gid) for entry in found.values()} == {(0, 0)}
        assert found["sub/run.sh"].mode == 0o750
        assert found["link"].issym()

    def test_archive_size_warning_names_the_largest_directories(self, tmp_path):
        for name, size in {"tiny.py": 1, "data/day/a": 30_000_000, "data/day/b": 19_000_000, "rest": 999_999}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            with (tmp_path / name).open("wb") as file:
                file.truncate(size)
        names = project_files(tmp_path)
        assert size_warning(tmp_path, names) == ""
        (tmp_path / "one byte").write_text("x")
        assert size_warning(tmp_path, [*names, "one byte", "missing"]).startswith(
            "the project's files are 50 MB, and are copied to the container for each run (data/day 49 MB, . 1 MB): add"
        )


class TestUnpack:
    def test_unpack_of_archive_writes_the_files_of_one_directory(self, tmp_path):
        archive = tar(("project/a/b.txt", b"b"), ("outside/0", b"0"))
        assert unpack(archive, tmp_path, below="project") == [tmp_path / "a" / "b.txt"]
        archive.seek(0)
        assert unpack(archive, tmp_path / "zero.txt", below="outside/0") == [tmp_path / "zero.txt"]
        assert (tmp_path / "zero.txt").read_bytes() == b"0"

    @pytest.mark.parametrize("name", ["project/../evil", "/evil", "evil", "project/a/../../evil", "projectile/x"])
    def test_unpack_of_archive_skips_names_outside_the_directory(self, tmp_path, name):
        (tmp_path / "root").mkdir()
        assert unpack(tar((name, b"x")), tmp_path / "root", below="project") == []
        assert [path.name for path in tmp_path.rglob("*")] == ["root"]

    def test_unpack_of_archive_neither_follows_nor_creates_links(self, tmp_path):
        (tmp_path / "root").mkdir()
        (tmp_path / "secret").write_text("kept")
        (tmp_path / "root" / "file").symlink_to(tmp_path / "secret")
        (tmp_path / "root" / "out").symlink_to(tmp_path)
        archive = tar(("project/file", b"x"), ("project/out/new", b"x"), ("project/link", None))
        assert unpack(archive, tmp_path / "root", below="project") == []
        assert (tmp_path / "secret").read_text() == "kept"
        assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_output_splitter_finds_marker_in_chunks_of_any_size(size):
    marker = container_runner.end_marker("token")
    output = b"out\0put \0tunlab-no " + marker[:5] + b" more\n"
    splitter, shown, status = _OutputSplitter(marker), b"", None
    sent = output + marker + b"42\n"
    for start in range(0, len(sent), size):
        assert status is None
        chunk, status = splitter.feed(sent[start : start + size])
        shown += chunk
    assert (shown, status) == (output, 42)


def test_flush_of_output_splitter_returns_partial_marker():
    splitter = _OutputSplitter(container_runner.end_marker("token"))
    assert splitter.feed(b"x\0tunlab-") == (b"x", None)
    assert splitter.flush() == b"\0tunlab-"


def test_image_tag_depends_on_build_context_and_arguments():
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
