"""Files of nodes: mounts, copies and texts, private directories, and what stays visible."""

import os
import shutil
import socket
import stat
from pathlib import Path

import pytest

from tunlab.errors import TopologyError
from tunlab.lab import Lab


@pytest.fixture
def start(tmp_path):
    """Function that starts a lab with one node, `a`, whose keys are given; its lab file is in `tmp_path`."""
    started = []

    def begin(**keys):
        lab = Lab("x")
        lab._base = tmp_path
        lab.node("a", **keys)
        started.append(lab.start())
        return lab["a"]

    yield begin
    for lab in started:
        lab.close()


def output(node, script):
    return node.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout


class TestFiles:
    def test_file_given_as_text_is_private_to_the_node_and_replaceable(self, start):
        node = start(files={"/etc/tunlab-motd": {"text": "hello\n", "mode": "0640", "owner": "nobody:nogroup"}})
        shown = output(node, "cat /etc/tunlab-motd; stat -c '%U:%G %a' /etc/tunlab-motd")
        assert shown == "hello\nnobody:nogroup 640\n"
        script = "echo new >/etc/tunlab-x; mv /etc/tunlab-x /etc/tunlab-motd; cat /etc/tunlab-motd"
        assert output(node, script) == "new\n"
        assert not Path("/etc/tunlab-motd").exists()

    def test_text_over_an_existing_file_keeps_its_owner_and_mode(self, start):
        status = Path("/etc/shadow").stat()
        node = start(files={"/etc/shadow": {"text": "x\n"}})
        assert output(node, "cat /etc/shadow; stat -c '%u %g %a' /etc/shadow") == (
            f"x\n{status.st_uid} {status.st_gid} {stat.S_IMODE(status.st_mode):o}\n"
        )

    def test_directory_keeps_owner_and_mode_when_a_file_is_added_to_it(self, start, tmp_path):
        directory = Path("/etc") / f"tunlab-{tmp_path.name}"
        directory.mkdir(mode=0o750)
        try:
            shutil.chown(directory, "nobody", "nogroup")
            node = start(files={f"{directory}/conf": {"text": "x"}})
            assert output(node, f"stat -c '%U:%G %a' {directory}; ls {directory}") == "nobody:nogroup 750\nconf\n"
        finally:
            directory.rmdir()

    def test_directory_is_mounted_and_programs_write_to_it(self, start, tmp_path):
        (tmp_path / "conf").mkdir()
        (tmp_path / "conf/a").write_text("one\n")
        node = start(files={"/etc/tunlab-new": "conf"})
        assert output(node, "cat /etc/tunlab-new/a; echo two >/etc/tunlab-new/b") == "one\n"
        assert (tmp_path / "conf/b").read_text() == "two\n"

    def test_directory_with_owner_is_a_copy(self, start, tmp_path):
        (tmp_path / "conf/sub").mkdir(parents=True)
        (tmp_path / "conf/sub/a").write_text("one\n")
        node = start(files={"/etc/tunlab-new": {"source": "conf", "owner": "nobody:nogroup", "mode": "0750"}})
        script = "cd /etc/tunlab-new; stat -c '%U %a' . ; stat -c %U sub/a; mv sub/a b; echo two >b"
        assert output(node, script) == "nobody 750\nnobody\n"
        assert (tmp_path / "conf/sub/a").read_text() == "one\n"

    def test_all_programs_of_the_node_see_a_file_that_one_of_them_changes(self, start):
        node = start()
        output(node, "echo 'nameserver 10.9.9.9' >/tmp/x.$$; mv /tmp/x.$$ /etc/resolv.conf")
        assert output(node, "cat /etc/resolv.conf") == "nameserver 10.9.9.9\n"

    def test_missing_source_user_and_directory_are_reported_together(self, start):
        with pytest.raises(TopologyError) as caught:
            start(
                files={"/etc/x": {"source": "none", "owner": "no-such"}},
                private=["/no/such"],
                share=["/run/none"],
                user="no-such",
                run_dirs=[{"path": "/run/x", "owner": "root:no-such"}],
            )
        assert [problem.key for problem in caught.value.problems] == [
            "/etc/x",
            "private[0]",
            "share[0]",
            "files./etc/x.owner",
            "run_dirs[0].owner",
            "user",
        ]


class TestPrivateDirectories:
    def test_run_has_the_directories_of_the_machine_but_no_files_and_sockets(self, start):
        node = start()
        shown = output(node, "cd /run; find . -mindepth 1 -maxdepth 1 -type d -printf '%f %u:%g %m\\n'").splitlines()
        own = {
            f"{each.name} {each.owner()}:{each.group()} {stat.S_IMODE(each.stat().st_mode):o}"
            for each in Path("/run").iterdir()
            if each.is_dir() and not each.is_symlink()
        }
        assert own <= set(shown) | {line for line in own if line.startswith("tunlab ")}
        assert output(node, "find /run -type f -o -type s") == ""

    def test_sockets_of_two_nodes_do_not_meet_and_are_gone_with_the_lab(self, tmp_path):
        server = "import socket, signal; socket.socket(socket.AF_UNIX).bind('/run/tunlab-test.sock'); signal.pause()"
        lab = Lab("x")
        for name in ("a", "b"):
            ready = {"path": "/run/tunlab-test.sock"}
            lab.node(name, run=[{"command": ["python3", "-c", server], "ready": ready}])
        with lab:
            assert not Path("/run/tunlab-test.sock").exists()
        assert not Path("/run/tunlab-test.sock").exists()

    def test_run_dirs_are_created_with_owner_and_mode(self, start):
        node = start(run_dirs=["/run/one/two", {"path": "/run/three", "owner": "nobody:nogroup", "mode": "0700"}])
        assert output(node, "stat -c '%U:%G %a' /run/one/two /run/three") == "root:root 755\nnobody:nogroup 700\n"

    def test_shared_socket_of_the_machine_is_visible(self, start):
        path = Path("/run") / f"tunlab-test-{os.getpid()}.sock"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            try:
                assert output(start(share=[str(path)]), f"stat -c %F {path}") == "socket\n"
            finally:
                path.unlink()

    def test_private_tmp_shows_pytest_tmp_the_working_directory_and_python(self, start, tmp_path, monkeypatch):
        """The directories that tests need stay visible below a private /tmp."""
        elsewhere = tmp_path.parent / f"{tmp_path.name}-cwd"
        elsewhere.mkdir()
        monkeypatch.chdir(elsewhere)
        (tmp_path / "in").write_text("from the test\n")
        node = start(private=["/tmp", "/var/log"])
        script = f"cat {tmp_path}/in; echo from the node >{tmp_path}/out; touch here; echo x >/tmp/y; ls /var/log/*.log"
        shown = node.run(["sh", "-c", script], capture_output=True, text=True).stdout
        assert shown == "from the test\n"
        assert (tmp_path / "out").read_text() == "from the node\n"
        assert (elsewhere / "here").exists()
        assert not Path("/tmp/y").exists()

    def test_text_below_a_private_directory_is_created_in_it(self, start):
        node = start(
            private=["/var/log"], files={"/var/log/tunlab/x": {"text": "one\n"}, "/run/y/z": {"text": "two\n"}}
        )
        assert output(node, "cat /var/log/tunlab/x /run/y/z") == "one\ntwo\n"
        assert not Path("/var/log/tunlab").exists()
