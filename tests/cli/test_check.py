"""`tunlab check`: mistakes in lab files and missing requirements."""

import os

import pytest

from tunlab.kernel.probe import probe
from tunlab.lab.lab_files import ready_labs

READY = sorted(ready_labs())


def test_check_of_ready_labs_reports_no_problems(tunlab):
    assert {"default", "two-hosts", "router", "nat", "bridge", "dual-stack", "two-stacks"} <= set(READY)
    result = tunlab("check", *READY, *map(str, ready_labs().values()))
    assert (result.status, result.err) == (0, "")
    assert result.out.count(": no problems: lab ") == 2 * len(READY)


def test_check_prints_every_mistake_of_every_file(tunlab, broken_file, tmp_path):
    absent = tmp_path / "absent.toml"
    result = tunlab("check", str(broken_file), "router", str(absent))
    lines = result.err.splitlines()
    assert result.status == 78
    assert result.out.count("no problems") == 1
    assert all(line.startswith(f"tunlab: {tmp_path}/") for line in lines)
    assert any("`nodes.router.forwrad` is not a known key. Did you mean forward?" in line for line in lines)
    assert any("links[0].ends" in line and "Did you mean router?" in line for line in lines)
    assert any("`links[0].mtu` is 20; the minimum is 68" in line for line in lines)
    assert any("links[1].ends" in line for line in lines)
    assert any(str(absent) in line and "No such file or directory" in line for line in lines)


def test_check_prints_missing_programs_and_files(tunlab, tmp_path):
    file = tmp_path / "mine.toml"
    (tmp_path / "here.conf").write_text("")
    file.write_text(
        '[nodes.a]\nrun = ["no-such --daemon", "sleep 1", "/bin/no-such", "/bin/mine x"]\n'
        'files = { "/etc/here" = "here.conf", "/etc/gone" = "gone.conf", "/bin/mine" = "here.conf" }\n'
    )
    result = tunlab("check", str(file))
    assert (result.status, result.out) == (78, "")
    hint = "Install it, or give its full path."
    gone = f"is 'gone.conf'; there is no file {tmp_path}/gone.conf. Give a path relative to the lab file."
    lines = [
        f"tunlab: {file}: `nodes.a.files./etc/gone` {gone}",
        f"tunlab: {file}: `nodes.a.run[0]` runs 'no-such', which is not on this machine. {hint}",
        f"tunlab: {file}: `nodes.a.run[2]` runs '/bin/no-such', which is not on this machine. {hint}",
    ]
    assert result.err.splitlines() == lines
    # `tunlab check` lists mistakes in the lab file together with missing programs and files.
    file.write_text(file.read_text() + "[nodes.b]\nforwrad = true\n")
    assert set(tunlab("check", str(file)).err.splitlines()) == {
        *lines, f"tunlab: {file}: `nodes.b.forwrad` is not a known key. Did you mean forward?",
    }  # fmt: skip


def test_check_prints_all_300_mistakes_while_up_prints_the_first_20(tunlab, tmp_path, broken_file):
    file = tmp_path / "many.toml"
    file.write_text("[nodes]\n" + "".join(f"n{number} = {{ no = 1 }}\n" for number in range(300)))
    lines = tunlab("up", str(file)).err.splitlines()
    assert lines[19].startswith(f"tunlab: {file}: `nodes.n19.no` is not a known key")
    assert lines[20:] == [f"tunlab: {file}: … and 280 more"]
    result, others = tunlab("check", str(file), str(broken_file)), tunlab("check", str(broken_file)).err.splitlines()
    assert (result.status, len(result.err.splitlines())) == (78, 300 + len(others))


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ('image = "x"', "there is no engine: the socket /nonexistent.sock does not exist. Start it, or give"),
        ('container = "x"', "there is no engine: the socket /nonexistent.sock does not exist. Start it, or give"),
    ],
)
def test_check_of_a_lab_with_containers_reports_a_missing_docker_engine(tunlab, tmp_path, monkeypatch, node, message):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")
    file = tmp_path / "mine.toml"
    file.write_text(f"[nodes]\na = {{ {node} }}\n")
    checked = tunlab("check", str(file), "router")
    assert (checked.status, checked.err.count("\n")) == (78, 1)
    assert f"tunlab: {file}: local: {message}" in checked.err
    assert checked.out.count("no problems") == 1


def test_check_of_a_lab_with_delay_reports_missing_netem(tunlab, tmp_path):
    has_netem = next(each.ok for each in probe() if each.name == "qdisc netem")
    file = tmp_path / "mine.toml"
    file.write_text('[nodes]\na = {}\nb = {}\n[[links]]\nends = ["a", "b"]\ndelay = "1ms"\n')
    result = tunlab("check", str(file))
    assert (result.status, "this kernel has no netem" in result.err) == ((0, False) if has_netem else (78, True))


def test_check_reports_files_that_cannot_be_mounted_at_their_path(tunlab, tmp_path, run_directory):
    (tmp_path / "x").write_text("")
    file = tmp_path / "mine.toml"
    paths = ["/new/dir/x", "/sys/x", "/etc", f"{tmp_path}/no/x", "/etc/new/dir/x", "/usr/new/x", f"{tmp_path}/y"]
    files = ", ".join(f'"{path}" = "x"' for path in paths)
    file.write_text(f"[nodes.a]\nfiles = {{ {files} }}\n")
    result = tunlab("check", str(file))
    other = "or choose a path below /etc, /opt, /srv, /usr."
    table, no = f"tunlab: {file}: `nodes.a.files.", f"{tmp_path}/no"
    lacking = ", which this machine does not have"
    assert (result.status, result.err.splitlines()) == (78, [
        f"{table}/new/dir/x` needs the directory /new/dir{lacking}. Create it (mkdir -p /new/dir), {other}",
        f"{table}/sys/x` is below /sys, where each node mounts its own. Choose another path.",
        f"{table}/etc` is a directory on this machine. Name a file in it, or give a directory for it.",
        f"{table}{no}/x` needs the directory {no}{lacking}. Create it (mkdir -p {no}), {other}",
    ])  # fmt: skip
    assert tunlab("up", str(file)) == (78, "", result.err)
    assert not run_directory.exists()


def test_check_of_a_file_over_1_mib_exits_78(tunlab):
    result = tunlab("check", "/dev/zero")
    assert (result.status, result.err) == (
        78, "tunlab: /dev/zero: too large to be a lab file (more than 1 MiB). Check the path.\n"
    )  # fmt: skip


def test_check_reads_a_pipe_and_exits_78_if_the_pipe_stays_empty(tunlab, tmp_path, monkeypatch):
    reading, writing = os.pipe()
    os.write(writing, b"[nodes]\nxyz = { no = 1 }\n")
    os.close(writing)
    assert "`nodes.xyz.no` is not a known key" in tunlab("check", f"/proc/self/fd/{reading}").err
    os.close(reading)
    monkeypatch.setattr("tunlab.lab.lab_files.PIPE_TIMEOUT", 0.01)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    result = tunlab("check", str(fifo))
    problem = "no data from this pipe for 0.01 s. Start the program that writes to the pipe first."
    assert (result.status, result.err) == (78, f"tunlab: {fifo}: {problem}\n")


def test_error_of_check_with_invalid_toml_names_the_line(tunlab, tmp_path):
    file = tmp_path / "x.toml"
    file.write_text("[nodes]\nclient = {\n")
    result = tunlab("check", str(file))
    assert result.status == 78
    assert result.err.startswith(f"tunlab: {file}: not valid TOML: ")
    assert "line 2" in result.err or "line 3" in result.err


def test_error_of_check_with_misspelled_lab_name_suggests_a_ready_lab(tunlab):
    result = tunlab("check", "ruoter")
    assert result.status == 78
    sentence = "tunlab: ruoter: there is no such file or ready lab. Did you mean router? The ready "
    assert result.err.startswith(sentence)


@pytest.mark.parametrize("name", [".", "./", "labs"])
def test_error_of_check_with_directory_says_so(tunlab, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labs").mkdir()
    result = tunlab("check", name)
    assert result.status == 78
    assert result.err.startswith(f"tunlab: {name}: this is a directory, not a lab file. The ready labs are ")


def test_check_creates_no_lab(tunlab, broken_file, run_directory):
    tunlab("check", str(broken_file), "router")
    assert not run_directory.exists()
