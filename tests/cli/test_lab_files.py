"""`tunlab check`, `graph` and `up --dry-run`: what a lab file says, before anything is made."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import tunlab
from tunlab.kernel.probe import probe
from tunlab.lab.lab_files import ready_labs

ROOT = Path(__file__).parents[2]
PACKAGE = Path(tunlab.__file__).parent
READY = sorted(ready_labs())

BROKEN = """
[nodes]
client = {}
router = { forwrad = true }

[[links]]
ends = ["client", "ruoter"]
mtu = 20
[[links]]
ends = ["client", "client"]
"""


@pytest.fixture
def broken(tmp_path):
    file = tmp_path / "broken.toml"
    file.write_text(BROKEN)
    return file


class TestCheck:
    def test_every_ready_lab_by_its_name_and_as_a_file(self, tunlab):
        assert {"default", "two-hosts", "router", "nat", "bridge", "dual-stack", "two-stacks"} <= set(READY)
        said = tunlab("check", *READY, *map(str, ready_labs().values()))
        assert (said.status, said.err) == (0, "")
        assert said.out.count(": nothing is wrong: lab ") == 2 * len(READY)

    def test_every_mistake_of_every_file_is_told_at_once(self, tunlab, broken, tmp_path):
        absent = tmp_path / "absent.toml"
        said = tunlab("check", str(broken), "router", str(absent))
        lines = said.err.splitlines()
        assert said.status == 78
        assert said.out.count("nothing is wrong") == 1
        assert all(line.startswith(f"tunlab: {tmp_path}/") for line in lines)
        assert any("nodes.router.forwrad: no such key; did you mean forward?" in line for line in lines)
        assert any("links[0].ends" in line and "did you mean router?" in line for line in lines)
        assert any("links[0].mtu: 20 is no MTU" in line for line in lines)
        assert any("links[1].ends" in line for line in lines)
        assert any(str(absent) in line and "No such file or directory" in line for line in lines)

    def test_what_this_machine_has_not(self, tunlab, tmp_path):
        file = tmp_path / "mine.toml"
        (tmp_path / "here.conf").write_text("")
        file.write_text(
            '[nodes.a]\nrun = ["no-such --daemon", "sleep 1", "/bin/no-such", "/bin/mine x"]\n'
            'files = { "/etc/here" = "here.conf", "/etc/gone" = "gone.conf", "/bin/mine" = "here.conf" }\n'
        )
        said = tunlab("check", str(file))
        assert (said.status, said.out) == (78, "")
        hint, beside = "install it, or give its full path", "a relative path begins where the lab file is"
        gone = f"it is to be {tmp_path}/gone.conf, and there is no such file"
        lines = [
            f"tunlab: {file}: nodes.a.files./etc/gone: {gone}; {beside}",
            f"tunlab: {file}: nodes.a.run[0]: there is no program 'no-such' on this machine; {hint}",
            f"tunlab: {file}: nodes.a.run[2]: there is no program '/bin/no-such' on this machine; {hint}",
        ]
        assert said.err.splitlines() == lines
        # With all else that is wrong.
        file.write_text(file.read_text() + "[nodes.b]\nforwrad = true\n")
        assert set(tunlab("check", str(file)).err.splitlines()) == {
            *lines, f"tunlab: {file}: nodes.b.forwrad: no such key; did you mean forward?",
        }  # fmt: skip

    def test_of_very_many_mistakes_in_a_file_up_tells_the_first_and_check_all(self, tunlab, tmp_path, broken):
        file = tmp_path / "many.toml"
        file.write_text("[nodes]\n" + "".join(f"n{number} = {{ no = 1 }}\n" for number in range(300)))
        lines = tunlab("up", str(file)).err.splitlines()
        assert lines[19].startswith(f"tunlab: {file}: nodes.n19.no: no such key")
        assert lines[20:] == [f"tunlab: {file}: … and 280 more"]
        # check is asked for nothing else.
        said, others = tunlab("check", str(file), str(broken)), tunlab("check", str(broken)).err.splitlines()
        assert (said.status, len(said.err.splitlines())) == (78, 300 + len(others))

    @pytest.mark.parametrize(
        ("node", "said"),
        [
            ('image = "x"', "there is no engine: no socket /nonexistent.sock; start it, or say where it is"),
            ('container = "x"', "there is no engine: no socket /nonexistent.sock; start it, or say where it is"),
        ],
    )
    def test_an_engine_that_is_not_there(self, tunlab, tmp_path, monkeypatch, node, said):
        monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")
        file = tmp_path / "mine.toml"
        file.write_text(f"[nodes]\na = {{ {node} }}\n")
        checked = tunlab("check", str(file), "router")
        assert (checked.status, checked.err.count("\n")) == (78, 1)
        assert f"tunlab: {file}: local: {said}" in checked.err
        assert checked.out.count("nothing is wrong") == 1

    def test_a_kernel_without_netem(self, tunlab, tmp_path):
        has_netem = next(each.ok for each in probe() if each.name == "qdisc netem")
        file = tmp_path / "mine.toml"
        file.write_text('[nodes]\na = {}\nb = {}\n[[links]]\nends = ["a", "b"]\ndelay = "1ms"\n')
        said = tunlab("check", str(file))
        assert (said.status, "this kernel has no netem" in said.err) == ((0, False) if has_netem else (78, True))

    def test_where_no_file_can_be_laid(self, tunlab, tmp_path, run_directory):
        (tmp_path / "x").write_text("")
        file = tmp_path / "mine.toml"
        paths = ["/new/dir/x", "/sys/x", "/etc", f"{tmp_path}/no/x", "/etc/new/dir/x", "/usr/new/x", f"{tmp_path}/y"]
        files = ", ".join(f'"{path}" = "x"' for path in paths)
        file.write_text(f"[nodes.a]\nfiles = {{ {files} }}\n")
        said = tunlab("check", str(file))
        other = "or take a path below /etc, /opt, /srv, /usr"
        table, no = f"tunlab: {file}: nodes.a.files.", f"{tmp_path}/no"
        assert (said.status, said.err.splitlines()) == (78, [
            f"{table}/new/dir/x: this machine has no directory /new/dir; make it (mkdir -p /new/dir), {other}",
            f"{table}/sys/x: a node has a /sys of its own, and no file is laid there; give it another path",
            f"{table}/etc: there is a directory on this machine; name a file in it",
            f"{table}{no}/x: this machine has no directory {no}; make it (mkdir -p {no}), {other}",
        ])  # fmt: skip
        assert tunlab("up", str(file)) == (78, "", said.err)
        assert not run_directory.exists()

    def test_a_file_that_never_ends_or_is_too_large(self, tunlab):
        said = tunlab("check", "/dev/zero")
        assert (said.status, said.err) == (
            78, "tunlab: /dev/zero: it has more than 1 MiB, and no lab file is so large; give a lab file\n"
        )  # fmt: skip

    def test_a_pipe(self, tunlab, tmp_path, monkeypatch):
        """What has an end is read; nobody is waited for without end."""
        reading, writing = os.pipe()
        os.write(writing, b"[nodes]\nxyz = { no = 1 }\n")
        os.close(writing)
        assert "nodes.xyz.no: no such key" in tunlab("check", f"/proc/self/fd/{reading}").err
        os.close(reading)
        monkeypatch.setattr("tunlab.lab.lab_files.PIPE_TIMEOUT", 0.01)
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)
        said = tunlab("check", str(fifo))
        problem = "it is a pipe, and for 0.01 s nobody has written into it; give a lab file, or begin with who writes"
        assert (said.status, said.err) == (78, f"tunlab: {fifo}: {problem}\n")

    def test_text_that_is_no_toml_is_told_with_its_line(self, tunlab, tmp_path):
        file = tmp_path / "x.toml"
        file.write_text("[nodes]\nclient = {\n")
        said = tunlab("check", str(file))
        assert said.status == 78
        assert said.err.startswith(f"tunlab: {file}: no TOML: ")
        assert "line 2" in said.err or "line 3" in said.err

    def test_a_name_that_is_neither_a_file_nor_a_ready_lab(self, tunlab):
        said = tunlab("check", "ruoter")
        assert said.status == 78
        sentence = (
            "tunlab: ruoter: there is no such file, and no ready lab of that name; did you mean router? the ready "
        )
        assert said.err.startswith(sentence)

    def test_nothing_is_made(self, tunlab, broken, run_directory):
        tunlab("check", str(broken), "router")
        assert not run_directory.exists()


class TestDryRun:
    def test_it_says_every_address_route_and_program_and_makes_nothing(self, tunlab, run_directory, tmp_path):
        file = tmp_path / "mine.toml"
        file.write_text(
            '[nodes]\nclient = {}\nrouter = { forward = true }\nserver = { run = ["sleep 1"] }\n'
            '[[links]]\nends = ["client", "router"]\n'
            '[[links]]\nends = ["router:lan0", "server"]\nmtu = 1400\nrate = "10mbit"\ndelay = "20ms"\nloss = "1%"\n'
        )
        said = tunlab("up", str(file), "--dry-run")
        assert (said.status, said.err) == (0, "nothing was made\n")
        words = [line.split("  ") for line in map(str.strip, said.out.splitlines())]
        assert words[0] == ["lab mine: 3 nodes, 2 links"]
        assert ["eth0", "10.0.1.1/24", "02:00:00:00:01:01", "mtu 1500", "to router eth0"] in words
        assert ["to default via 10.0.1.2"] in words
        (impaired,) = (line for line in words if line[0] == "lan0")
        assert impaired[3:] == ["mtu 1400", "to server eth0", "10 Mbit/s, delay 20 ms, loss 1 %"]
        assert ["runs sleep 1"] in words
        assert not run_directory.exists()

    def test_as_json_it_is_the_whole_plan(self, tunlab):
        made = json.loads(tunlab("up", "router", "--name", "x", "--dry-run", "--json").out)
        assert made["name"] == "x"
        assert [node["name"] for node in made["nodes"]] == ["client", "router", "server", "stack"]

    def test_without_a_right_to_anything(self, command, without_capabilities):
        assert command("up", "router", "--dry-run", prefix=without_capabilities).status == 0

    def test_a_broken_file_is_told_as_by_check(self, tunlab, broken):
        assert tunlab("up", "--dry-run", str(broken)).err == tunlab("check", str(broken)).err


class TestUpErrors:
    def test_what_check_says_up_says_before_anything_is_made(self, tunlab, run_directory, tmp_path):
        file = tmp_path / "mine.toml"
        files = 'files = { "/etc/here" = "a.conf", "/etc/gone" = "b.conf" }'
        file.write_text(f'[nodes]\na = {{ run = ["no-such"], {files} }}\nb = {{ mut = 1 }}\n')
        said = tunlab("up", str(file))
        assert (said.status, said.err) == tunlab("check", str(file))[::2]
        assert said.err.count("\n") == 4
        assert not run_directory.exists()

    def test_a_sysctl_whose_value_only_the_kernel_knows_to_be_wrong(self, tunlab, run_directory, tmp_path):
        file = tmp_path / "mine.toml"
        file.write_text('[nodes]\na = { sysctls = { "net.core.somaxconn" = "abc" } }\nb = {}\n')
        said = tunlab("up", str(file))
        problem = "nodes.a.sysctls.net.core.somaxconn: 'abc': the kernel takes no such value for it; see Documentation/"
        assert (said.status, said.err.startswith(f"tunlab: {file}: {problem}")) == (78, True), said.err
        assert list(run_directory.iterdir()) == []

    def test_options_of_the_tun_are_for_labs_of_one_node(self, tunlab, run_directory):
        said = tunlab("up", "router", "--address", "10.9.0.1/24")
        assert said.status == 78
        assert said.err.startswith("tunlab: --address: the lab has 4 nodes")
        assert not run_directory.exists()


class TestGraph:
    @pytest.mark.parametrize("name", READY)
    def test_every_ready_lab_in_every_form(self, tunlab, name):
        nodes = tomllib.loads(ready_labs()[name].read_text()).get("nodes", {"stack": {}})
        for options in ((), ("--mermaid",), ("--dot",), ("--svg",)):
            said = tunlab("graph", name, *options)
            assert (said.status, said.err) == (0, "")
            assert all(node in said.out for node in nodes)

    def test_a_file_is_written_in_the_form_of_its_name(self, tunlab, tmp_path):
        for suffix, start in ((".svg", "<svg"), (".dot", "graph"), (".mmd", "graph")):
            file = tmp_path / f"x{suffix}"
            assert tunlab("graph", "router", "--write", str(file)) == (0, "", f"{file} is written\n")
            assert file.read_text().lstrip().startswith((start, "flowchart"))
        file = tmp_path / "x.txt"
        tunlab("graph", "router", "--write", str(file))
        assert file.read_text() == tunlab("graph", "router").out

    def test_one_form_at_a_time(self, tunlab):
        said = tunlab("graph", "router", "--svg", "--dot")
        assert (said.status, said.out) == (2, "")
        assert "--dot and --svg are forms of one drawing: give one" in said.err

    def test_a_file_that_cannot_be_written(self, tunlab, tmp_path):
        said = tunlab("graph", "router", "--write", str(tmp_path / "no" / "x.svg"))
        assert (said.status, said.out) == (71, "")
        assert said.err.startswith(f"tunlab: write {tmp_path}/no/x.svg: No such file or directory (ENOENT)")


class TestTheReadyLabs:
    def test_they_are_those_of_the_project_wherever_tunlab_is_installed(self):
        found = {name: file.read_text() for name, file in ready_labs().items()}
        assert found == {file.stem: file.read_text() for file in (ROOT / "lab").glob("*.toml")}
        in_checkout = PACKAGE.parent == ROOT
        assert {file.parent for file in ready_labs().values()} == {ROOT / "lab" if in_checkout else PACKAGE / "labs"}

    def test_a_wheel_carries_them(self, tmp_path, environment):
        """The wheel is built as pip does it, unpacked elsewhere, and asked for a lab there."""
        source, unpacked = tmp_path / "source", tmp_path / "unpacked"
        leave_out = shutil.ignore_patterns("__pycache__", "labs", "source")
        shutil.copytree(PACKAGE, source / "tunlab", ignore=leave_out)
        shutil.copytree(ROOT / "lab", source / "lab")
        for name in ("pyproject.toml", "README.md", "LICENSE", "Dockerfile"):
            shutil.copy(ROOT / name, source)
        build = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
        done = subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=source, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        (wheel,) = tmp_path.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(unpacked)
        said = subprocess.run(
            [sys.executable, "-m", "tunlab", "check", *READY],
            cwd=tmp_path, env={**environment, "PYTHONPATH": str(unpacked)}, capture_output=True, text=True,
        )  # fmt: skip
        assert (said.returncode, said.stderr) == (0, "")
        assert f"{unpacked}/tunlab/labs/router.toml: nothing is wrong" in said.stdout
        files = [file.relative_to(source) for file in (source / "tunlab").rglob("*") if file.is_file()]
        assert [file for file in files if not (unpacked / file).exists()] == []  # the page's style and scripts as well
