"""`tunlab test` on a real engine: as if it ran here, and nothing left of it however it ends."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from docker.errors import NotFound

from tests.engines.conftest import LIMIT
from tests.engines.workers.socket_forwarder import SocketForwarder
from tunlab.engines.containers import cleanup, container_labels
from tunlab.engines.containers.container import LEAST, Container
from tunlab.engines.images.suite_image import ensure_suite_image
from tunlab.errors import EngineError

pytestmark = [pytest.mark.docker, pytest.mark.slow]

LONG = """
    import signal

    def test_first(netns): pass

    def test_long(request):
        request.config.pluginmanager.getplugin("capturemanager").suspend_global_capture(in_=True)
        print("it runs", flush=True)
        signal.pause()
""".replace("\n    ", "\n")

ORPHAN = """
import os, subprocess, sys
from tunlab.engines.containers import container_labels
from tunlab.engines.connection.engine import Engine

def make(owner):
    labels = {{**container_labels.labels("{run}", "test"), container_labels.PID: str(owner)}}
    return engine.api.create_container("{image}", ["true"], labels=labels)["Id"]

with Engine.connect() as engine, subprocess.Popen(["true"]) as dead:
    dead.wait()
    make(dead.pid)
    print("living", make(os.getpid()), flush=True)
sys.exit(subprocess.run(sys.argv[1:]).returncode)
"""
"""One container whose owner has ended, one whose owner lives; then the program that it is given."""


def junit(file):
    (suite,) = ElementTree.parse(file).getroot().iter("testsuite")
    return {name: int(suite.get(name)) for name in ("tests", "failures", "errors")}


@pytest.fixture
def alone(need):
    """A prefix for a command: in a PID namespace of its own, which is as a machine of its own.

    No other test's run sees what it leaves as abandoned, and removes it first.
    """
    return (need("unshare"), "--pid", "--fork", "--kill-child", "--mount-proc")


class TestAsIfItRanHere:
    def test_output_exit_code_and_files(self, start, project, tmp_path):
        directory = project(
            test_two="""
import os, pathlib
def test_a_tun_of_its_own(tun):
    assert tun.address == "10.1.2.1"
    pathlib.Path("made/by").mkdir(parents=True)
    pathlib.Path("made/by/hand.txt").write_text(os.getcwd())
    pathlib.Path("there.txt").write_text("changed")
def test_that_fails():
    assert 1 == 2, "as it has to"
"""
        )
        (directory / "there.txt").write_text("before")
        (directory / "stays.txt").write_text("as it was")
        before = (directory / "stays.txt").stat().st_mtime_ns
        outside = tmp_path / "reports" / "junit.xml"
        status, out, err = start(directory, "-q", f"--junitxml={outside}").end()
        assert status == 1, err
        assert "AssertionError: as it has to" in out
        assert "1 failed, 1 passed" in out
        assert "\0" not in out
        assert (directory / "made/by/hand.txt").read_text() == str(directory)
        assert (directory / "there.txt").read_text() == "changed"
        assert (directory / "stays.txt").stat().st_mtime_ns == before
        assert junit(outside) == {"tests": 2, "failures": 1, "errors": 0}
        assert "copied back: made/by/hand.txt, there.txt" in err
        assert not list(directory.rglob("__pycache__"))

    def test_what_is_written_elsewhere(self, start, project, tmp_path):
        directory = project(
            conftest="""
import pathlib
def pytest_addoption(parser): parser.addoption("--cov-report")  # as pytest-cov has it
def pytest_unconfigure(config):
    kind, _, place = config.option.cov_report.partition(":")
    pathlib.Path(place, kind).mkdir(parents=True)
    pathlib.Path(place, kind, "index.html").write_text("covered")
""",
            test_it="def test_it(): pass\n",
        )
        pages, report = tmp_path / "pages", tmp_path / "reports" / "junit.xml"
        addopts = {"PYTEST_ADDOPTS": f"--junitxml={report}"}
        status, out, err = start(directory, f"--cov-report=html:{pages}", env=addopts).end()
        assert status == 0, out + err
        assert (pages / "html" / "index.html").read_text() == "covered"
        assert junit(report)["tests"] == 1

    def test_options_of_pytest_below_the_root_and_what_is_seen_inside(self, start, project):
        directory = project()
        below = directory / "below"
        below.mkdir()
        (below / "test_it.py").write_text(
            """
import os
def test_one(request):
    assert request.config.rootpath.name == "project"
    assert (os.environ["GIVEN"], os.environ["HANDED"], "SECRET" in os.environ) == ("1", "2", False)
def test_two(): assert False
"""
        )
        options = ("--env", "GIVEN=1", "--env", "HANDED", "-k", "one", "-p", "no:cacheprovider")
        status, out, err = start(below, *options, env={"HANDED": "2", "SECRET": "3"}).end()
        assert (status, "1 passed, 1 deselected" in out) == (0, True), out + err

    def test_what_the_table_gives_it(self, start, project, tmp_path):
        """Mounts beside those of the command line, and a file that git ignores."""
        directory = project(
            generated="VALUE = 1\n",
            test_it="""
import pathlib, pytest
def test_it():
    import generated
    places = [pathlib.Path("/data/here"), pathlib.Path("/one file")]
    assert [place.read_text() for place in places] == ["data", "file"]
    for place in places:
        with pytest.raises(OSError, match="Read-only"): place.write_text("")
""",
        )
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "here").write_text("data")
        (tmp_path / "file").write_text("file")
        subprocess.run(["git", "init", "-q"], cwd=directory, check=True)
        (directory / ".gitignore").write_text("generated.py\n")
        (directory / "pyproject.toml").write_text(
            f'[tool.tunlab.test]\ninclude = ["gen*.py"]\nmounts = ["{tmp_path}/data:/data"]\n'
        )
        status, out, err = start(directory, "--mount", f"{tmp_path}/file:/one file").end()
        assert status == 0, out + err

    def test_pytests_own_errors_keep_their_codes(self, start, project):
        directory = project(test_none="")
        assert start(directory, "-q").end()[0] == 5
        assert start(directory, "--", "--no-such-option").end()[0] == 4

    @pytest.mark.parametrize(
        ("options", "ci", "all_of_them"),
        [
            (["--least"], "true", False),
            (["--privileged"], "", True),
            ([], "true", True),
            ([], "false", False),
            ([], None, False),
        ],
    )
    def test_rights(self, start, project, options, ci, all_of_them):
        directory = project(
            test_rights="""
def test_rights(tun, make_netns):
    held = next(int(line[7:], 16) for line in open("/proc/self/status") if line.startswith("CapEff:"))
    print("capabilities", hex(held))
    make_netns().set_sysctl("net.ipv4.ip_forward", 1)
    tun.listen(80)
"""
        )
        env = {} if ci is None else {"CI": ci}
        status, out, err = start(directory, "-s", *options, env=env).end()
        assert status == 0, out + err
        held = int(out.split("capabilities ")[1].split()[0], 16)
        least = 1 << 12 | 1 << 13 | 1 << 21  # CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN
        assert (held != least) == all_of_them
        assert held & least == least

    def test_several_pythons_and_one_that_cannot_be_had(self, start, project, engine, image):
        version = "3.11"
        engine.api.tag(image, "tunlab-test-python", version)
        try:
            directory = project(test_it="def test_it(): pass\n")
            env = {"TUNLAB_BASE_IMAGE": "localhost/tunlab-test-python-{python}:1"}
            engine.api.tag(image, f"localhost/tunlab-test-python-{version}", "1")
            status, out, err = start(
                directory, "--pythons", f"{version},3.99", "-q", "--junitxml=junit.xml", env=env
            ).end()
        finally:
            engine.api.remove_image("tunlab-test-python:3.11", noprune=True)
            engine.api.remove_image(f"localhost/tunlab-test-python-{version}:1", noprune=True)
        assert status == 69
        assert out.count("1 passed") == 1
        assert f"Python {version}: passed\nPython 3.99: exit code 69\n" in err
        assert "localhost/tunlab-test-python-3.99:1 cannot be pulled: name another in TUNLAB_BASE_IMAGE" in err
        assert junit(directory / f"junit-py{version}.xml")["tests"] == 1

    def test_no_docker_program_is_run(self, start, project, need, tmp_path):
        directory = project(test_it="def test_it(): pass\n")
        trace = tmp_path / "trace"
        prefix = (need("strace"), "-f", "-e", "trace=execve", "-s", "200", "-o", str(trace))
        assert start(directory, "-q", prefix=prefix).end()[0] == 0
        run = {line.split('"')[1].rpartition("/")[2] for line in trace.read_text().splitlines() if "execve(" in line}
        assert run <= {Path(sys.executable).name, Path(shutil.which("git") or "git").name}


class TestHoweverItEnds:
    def test_ctrl_c_in_the_middle(self, start, project):
        directory = project(test_long=LONG)
        running = start(directory, "--junitxml=junit.xml")
        running.wait_for("it runs")
        assert len(running.containers()) == 1
        status, out, _ = running.end(signal.SIGINT)
        assert (status, "KeyboardInterrupt" in out) == (2, True)
        assert junit(directory / "junit.xml")["tests"] == 1  # the one that was done
        assert running.containers() == []

    def test_ctrl_c_at_the_start(self, start, project):
        running = start(project(test_long=LONG))
        running.wait_for_a_container()
        status, _, err = running.end(signal.SIGINT)
        assert status in (130, 2), err  # 2: it was at pytest already
        assert "Traceback" not in err
        assert running.containers() == []

    def test_ctrl_c_twice_does_not_wait_for_pytest(self, start, project):
        deaf = LONG.replace(
            "signal.pause()", "signal.signal(2, lambda *_: print('deaf', flush=True))\n    while 1: signal.pause()"
        )
        running = start(project(test_long=deaf))
        running.wait_for("it runs")
        running.process.send_signal(signal.SIGINT)
        running.wait_for("deaf")
        status, _, err = running.end(signal.SIGINT)
        assert (status, err) == (130, "")
        assert running.containers() == []

    def test_its_reader_has_seen_enough(self, start, project):
        """As of pytest itself: the suite was not run to its end."""
        running = start(project(test_long=LONG), "-v")
        running.process.stdout.readline()
        running.process.stdout.close()
        running.process.stdout = None
        status, _, err = running.end()
        assert (status, err) == (1, "")
        assert running.containers() == []

    def test_ctrl_c_twice_with_an_engine_that_is_frozen(self, start, project, engine, tmp_path):
        forwarder = SocketForwarder(tmp_path / "engine.sock", engine.endpoint.socket)
        try:
            running = start(project(test_long=LONG), "--engine", forwarder.spec)
            running.wait_for("it runs")
            (container,) = running.containers()
            forwarder.freeze()
            running.process.send_signal(signal.SIGINT)
            with pytest.raises(subprocess.TimeoutExpired):  # the first waits for pytest
                running.process.wait(1)
            status, _, err = running.end(signal.SIGINT)
        finally:
            forwarder.cut()
        assert (status, "Traceback" in err) == (69, False), err
        assert "a suite's containers end by themselves when it answers" in err
        with contextlib.suppress(NotFound):  # it ends with its input
            engine.api.wait(container, condition="removed", timeout=LIMIT)
        assert running.containers() == []

    def test_sigterm(self, start, project):
        running = start(project(test_long=LONG))
        running.wait_for("it runs")
        status, _, err = running.end(signal.SIGTERM)
        assert (status, err) == (143, "")
        assert running.containers() == []

    def test_after_sigkill_the_container_ends_by_itself(self, start, project, engine, alone):
        running = start(project(test_long=LONG), prefix=alone)
        running.wait_for("it runs")
        its = os.stat(f"/proc/{running.process.pid}/ns/pid_for_children").st_ino  # noqa: PTH116
        label = f"{container_labels.HOST}={container_labels.host().partition('/')[0]}/{its}"
        (container,) = [each["Id"] for each in engine.api.containers(filters={"label": label})]
        try:
            assert running.end(signal.SIGKILL)[0] == -signal.SIGKILL
            with contextlib.suppress(NotFound):  # gone already
                engine.api.wait(container, condition="removed", timeout=LIMIT)
            assert engine.api.containers(all=True, filters={"label": label}) == []
        finally:
            cleanup.remove(engine, container)

    def test_a_container_that_is_killed(self, start, project, engine):
        running = start(project(test_long=LONG))
        running.wait_for("it runs")
        (container,) = running.containers()
        engine.api.kill(container, "SIGKILL")
        status, _, err = running.end()
        assert status == 69
        assert "the container ended before pytest did (exit status 137: it was killed)" in err
        assert "Traceback" not in err
        assert running.containers() == []

    def test_what_a_killed_one_left_before_it_started_is_removed_by_the_next(
        self, start, project, engine, image, run_of, alone
    ):
        script = ORPHAN.format(run=run_of, image=image)
        prefix = (*alone, sys.executable, "-c", script)
        status, out, err = start(project(test_it="def test_it(): pass\n"), "-q", prefix=prefix).end()
        assert status == 0, out + err
        assert "removed 1 container of a tunlab that was killed" in err
        (living,) = cleanup.remove_run_containers(engine, run_of)
        assert f"living {living}" in out


class TestWhatIsNotThere:
    def test_no_engine(self, start, project):
        running = start(project(), env={"DOCKER_HOST": "unix:///nonexistent/docker.sock"})
        said = (
            "tunlab: local: there is no engine: no socket /nonexistent/docker.sock;"
            " start it, or say where it is, by DOCKER_HOST or a Docker context\n"
        )
        assert running.end() == (69, "", said)

    def test_no_right_to_the_socket(self, engine, as_nobody, child_environment):
        socket = engine.endpoint.socket
        done = subprocess.run(
            [*as_nobody(), sys.executable, "-m", "tunlab", "test", "--engine", f"unix://{socket}"],
            env=child_environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 69
        assert f"user 65534 has no right to the engine's socket {socket}; join the group that owns it" in done.stderr
        assert done.stderr.count("\n") == 1

    def test_no_such_image(self, start, project):
        status, _, err = start(project(), "--image", "localhost/no-such-image:1").end()
        assert (status, "there is no image localhost/no-such-image:1, and it cannot be fetched" in err) == (69, True)

    def test_a_mount_of_nothing(self, start, project, tmp_path):
        place = tmp_path / "typo"
        status, _, err = start(project(test_it="def test_it(): pass\n"), "--mount", f"{place}:/data").end()
        assert status == 69
        assert f"bind source path does not exist: {place}; name a file or a directory that the engine's" in err
        assert not place.exists()

    def test_an_image_that_does_not_build(self, start, project):
        status, _, err = start(project(), "--install", "./nothing-here").end()
        assert status == 69
        assert 'the image cannot be built: RUN ["python3", "-m", "pip", "install"' in err
        assert "nothing-here" in err.splitlines()[-1]  # pip's own words
        assert "Traceback" not in err

    def test_no_tun_on_the_engines_machine(self, engine, image, run_of, monkeypatch):
        monkeypatch.setitem(LEAST, "devices", ["/dev/net/tun-that-is-not-there"])
        made = Container.create(engine, image, ["true"], run=run_of, role="test")
        with made as container, pytest.raises(EngineError) as raised:
            container.start()
        assert raised.value.remedy == "load the driver on the engine's machine: modprobe tun"

    def test_no_tun_inside(self, engine, run_of):
        image = ensure_suite_image(engine)
        command = ["python3", "-m", "tunlab", "doctor"]
        made = Container.create(engine, image, command, run=run_of, role="test", privileges="none")
        with made as container, container.attach() as attached:
            container.start()
            said = b"".join(piece for _, piece in attached.pieces()).decode()
        assert "MISSING  /dev/net/tun" in said
        assert "pass --device /dev/net/tun to the container" in said
