"""Tests of `tunlab test` on a real engine: results, files, signals and errors."""

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
from tunlab.engines.containers.container import LEAST_PRIVILEGES, Container
from tunlab.engines.images.suite_image import ensure_suite_image
from tunlab.errors import EngineError

pytestmark = [pytest.mark.docker, pytest.mark.slow]

LONG = """
    import signal

    def test_first(netns): pass

    def test_long(request):
        request.config.pluginmanager.getplugin("capturemanager").suspend_global_capture(in_=True)
        print("test_long runs", flush=True)
        signal.pause()
""".replace("\n    ", "\n")

ABANDONED = """
import os, subprocess, sys
from tunlab.engines.containers import container_labels
from tunlab.engines.connection.engine import Engine

def create(owner):
    labels = {{**container_labels.labels("{run}", "test"), container_labels.PID: str(owner)}}
    return engine.api.create_container("{image}", ["true"], labels=labels)["Id"]

with Engine.connect() as engine, subprocess.Popen(["true"]) as dead:
    dead.wait()
    create(dead.pid)
    print("owned", create(os.getpid()), flush=True)
sys.exit(subprocess.run(sys.argv[1:]).returncode)
"""
"""Creates a container whose owner has exited and one whose owner is running, then runs the command in its arguments."""


def junit(file):
    (suite,) = ElementTree.parse(file).getroot().iter("testsuite")
    return {name: int(suite.get(name)) for name in ("tests", "failures", "errors")}


@pytest.fixture
def own_pid_namespace(need):
    """Return a command prefix that runs a command in its own PID namespace.

    tunlab treats each PID namespace as a separate host, so concurrent tests do not remove this test's containers.
    """
    return (need("unshare"), "--pid", "--fork", "--kill-child", "--mount-proc")


class TestRun:
    def test_run_returns_output_exit_code_and_changed_files(self, start, project, tmp_path):
        directory = project(
            test_two="""
import os, pathlib
def test_passes(tun):
    assert tun.address == "10.1.2.1"
    pathlib.Path("created/below").mkdir(parents=True)
    pathlib.Path("created/below/cwd.txt").write_text(os.getcwd())
    pathlib.Path("changed.txt").write_text("changed")
def test_fails():
    assert 1 == 2, "expected failure"
"""
        )
        (directory / "changed.txt").write_text("before")
        (directory / "unchanged.txt").write_text("before")
        before = (directory / "unchanged.txt").stat().st_mtime_ns
        outside = tmp_path / "reports" / "junit.xml"
        status, out, err = start(directory, "-q", f"--junitxml={outside}").end()
        assert status == 1, err
        assert "AssertionError: expected failure" in out
        assert "1 failed, 1 passed" in out
        assert "\0" not in out
        assert (directory / "created/below/cwd.txt").read_text() == str(directory)
        assert (directory / "changed.txt").read_text() == "changed"
        assert (directory / "unchanged.txt").stat().st_mtime_ns == before
        assert junit(outside) == {"tests": 2, "failures": 1, "errors": 0}
        assert "copied back: changed.txt, created/below/cwd.txt" in err
        assert not list(directory.rglob("__pycache__"))

    def test_output_paths_outside_the_project_are_copied_back(self, start, project, tmp_path):
        directory = project(
            conftest="""
import pathlib
def pytest_addoption(parser): parser.addoption("--cov-report")  # like pytest-cov
def pytest_unconfigure(config):
    kind, _, path = config.option.cov_report.partition(":")
    pathlib.Path(path, kind).mkdir(parents=True)
    pathlib.Path(path, kind, "index.html").write_text("covered")
""",
            test_it="def test_it(): pass\n",
        )
        pages, report = tmp_path / "pages", tmp_path / "reports" / "junit.xml"
        addopts = {"PYTEST_ADDOPTS": f"--junitxml={report}"}
        status, out, err = start(directory, f"--cov-report=html:{pages}", env=addopts).end()
        assert status == 0, out + err
        assert (pages / "html" / "index.html").read_text() == "covered"
        assert junit(report)["tests"] == 1

    def test_pytest_options_and_env_apply_in_subdirectory(self, start, project):
        directory = project()
        below = directory / "below"
        below.mkdir()
        (below / "test_it.py").write_text(
            """
import os
def test_one(request):
    assert request.config.rootpath.name == "project"
    assert (os.environ["SET"], os.environ["PASSED"], "SECRET" in os.environ) == ("1", "2", False)
def test_two(): assert False
"""
        )
        options = ("--env", "SET=1", "--env", "PASSED", "-k", "one", "-p", "no:cacheprovider")
        status, out, err = start(below, *options, env={"PASSED": "2", "SECRET": "3"}).end()
        assert (status, "1 passed, 1 deselected" in out) == (0, True), out + err

    def test_run_has_mounts_and_ignored_files_of_project_settings(self, start, project, tmp_path):
        directory = project(
            generated="VALUE = 1\n",
            test_it="""
import pathlib, pytest
def test_it():
    import generated
    paths = [pathlib.Path("/data/here"), pathlib.Path("/one file")]
    assert [path.read_text() for path in paths] == ["data", "file"]
    for path in paths:
        with pytest.raises(OSError, match="Read-only"): path.write_text("")
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

    def test_run_returns_error_exit_codes_of_pytest(self, start, project):
        directory = project(test_none="")
        assert start(directory, "-q").end()[0] == 5
        assert start(directory, "--", "--no-such-option").end()[0] == 4

    @pytest.mark.parametrize(
        ("options", "ci", "privileged"),
        [
            (["--least"], "true", False),
            (["--privileged"], "", True),
            ([], "true", True),
            ([], "false", False),
            ([], None, False),
        ],
    )
    def test_capabilities_of_container_depend_on_privileged_option_and_ci_variable(
        self, start, project, options, ci, privileged
    ):
        directory = project(
            test_capabilities="""
def test_capabilities(tun, make_netns):
    effective = next(int(line[7:], 16) for line in open("/proc/self/status") if line.startswith("CapEff:"))
    print("capabilities", hex(effective))
    make_netns().set_sysctl("net.ipv4.ip_forward", 1)
    tun.listen(80)
"""
        )
        env = {} if ci is None else {"CI": ci}
        status, out, err = start(directory, "-s", *options, env=env).end()
        assert status == 0, out + err
        effective = int(out.split("capabilities ")[1].split()[0], 16)
        least = 1 << 12 | 1 << 13 | 1 << 21  # CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN
        assert (effective != least) == privileged
        assert effective & least == least

    def test_run_on_two_pythons_with_one_image_missing_runs_the_other_and_exits_69(self, start, project, engine, image):
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
        assert "Name an image other than localhost/tunlab-test-python-3.99:1 in TUNLAB_BASE_IMAGE" in err
        assert junit(directory / f"junit-py{version}.xml")["tests"] == 1

    def test_run_starts_no_docker_client(self, start, project, need, tmp_path):
        directory = project(test_it="def test_it(): pass\n")
        trace = tmp_path / "trace"
        prefix = (need("strace"), "-f", "-e", "trace=execve", "-s", "200", "-o", str(trace))
        assert start(directory, "-q", prefix=prefix).end()[0] == 0
        run = {line.split('"')[1].rpartition("/")[2] for line in trace.read_text().splitlines() if "execve(" in line}
        assert run <= {Path(sys.executable).name, Path(shutil.which("git") or "git").name}


class TestEnd:
    def test_ctrl_c_during_test_exits_2_with_report(self, start, project):
        directory = project(test_long=LONG)
        running = start(directory, "--junitxml=junit.xml")
        running.wait_for("test_long runs")
        assert len(running.containers()) == 1
        status, out, _ = running.end(signal.SIGINT)
        assert (status, "KeyboardInterrupt" in out) == (2, True)
        assert junit(directory / "junit.xml")["tests"] == 1  # Only test_first has ended, so the report has one test.
        assert running.containers() == []

    def test_ctrl_c_at_start_removes_container(self, start, project):
        running = start(project(test_long=LONG))
        running.wait_for_a_container()
        status, _, err = running.end(signal.SIGINT)
        assert status in (130, 2), err  # The exit code is 2 if pytest had already started.
        assert "Traceback" not in err
        assert running.containers() == []

    def test_second_ctrl_c_exits_without_waiting_for_pytest(self, start, project):
        ignores_sigint = LONG.replace(
            "signal.pause()", "signal.signal(2, lambda *_: print('ignored', flush=True))\n    while 1: signal.pause()"
        )
        running = start(project(test_long=ignores_sigint))
        running.wait_for("test_long runs")
        running.process.send_signal(signal.SIGINT)
        running.wait_for("ignored")
        status, _, err = running.end(signal.SIGINT)
        assert (status, err) == (130, "")
        assert running.containers() == []

    def test_run_with_closed_stdout_exits_1(self, start, project):
        running = start(project(test_long=LONG), "-v")
        running.process.stdout.readline()
        running.process.stdout.close()
        running.process.stdout = None
        status, _, err = running.end()
        assert (status, err) == (1, "")
        assert running.containers() == []

    def test_second_ctrl_c_exits_while_engine_is_frozen(self, start, project, engine, tmp_path):
        forwarder = SocketForwarder(tmp_path / "engine.sock", engine.endpoint.socket)
        try:
            running = start(project(test_long=LONG), "--engine", forwarder.spec)
            running.wait_for("test_long runs")
            (container,) = running.containers()
            forwarder.freeze()
            running.process.send_signal(signal.SIGINT)
            with pytest.raises(subprocess.TimeoutExpired):  # After the first SIGINT, tunlab waits for pytest.
                running.process.wait(1)
            status, _, err = running.end(signal.SIGINT)
        finally:
            forwarder.close()
        assert (status, "Traceback" in err) == (69, False), err
        assert "a suite's containers exit once it answers" in err
        with contextlib.suppress(NotFound):  # The container exits when its standard input closes, and is then removed.
            engine.api.wait(container, condition="removed", timeout=LIMIT)
        assert running.containers() == []

    def test_sigterm_exits_143_and_removes_container(self, start, project):
        running = start(project(test_long=LONG))
        running.wait_for("test_long runs")
        status, _, err = running.end(signal.SIGTERM)
        assert (status, err) == (143, "")
        assert running.containers() == []

    def test_sigkill_of_tunlab_makes_the_container_exit(self, start, project, engine, own_pid_namespace):
        running = start(project(test_long=LONG), prefix=own_pid_namespace)
        running.wait_for("test_long runs")
        namespace = os.stat(f"/proc/{running.process.pid}/ns/pid_for_children").st_ino  # noqa: PTH116
        label = f"{container_labels.HOST}={container_labels.host_id().partition('/')[0]}/{namespace}"
        (container,) = [each["Id"] for each in engine.api.containers(filters={"label": label})]
        try:
            assert running.end(signal.SIGKILL)[0] == -signal.SIGKILL
            with contextlib.suppress(NotFound):  # NotFound: the container has been removed already.
                engine.api.wait(container, condition="removed", timeout=LIMIT)
            assert engine.api.containers(all=True, filters={"label": label}) == []
        finally:
            cleanup.remove_container(engine, container)

    def test_killed_container_exits_69_with_its_status(self, start, project, engine):
        running = start(project(test_long=LONG))
        running.wait_for("test_long runs")
        (container,) = running.containers()
        engine.api.kill(container, "SIGKILL")
        status, _, err = running.end()
        assert status == 69
        assert "the container exited before pytest did (exit status 137: it was killed)" in err
        assert "Traceback" not in err
        assert running.containers() == []

    def test_next_run_removes_containers_of_a_killed_process(
        self, start, project, engine, image, run_id, own_pid_namespace
    ):
        script = ABANDONED.format(run=run_id, image=image)
        prefix = (*own_pid_namespace, sys.executable, "-c", script)
        status, out, err = start(project(test_it="def test_it(): pass\n"), "-q", prefix=prefix).end()
        assert status == 0, out + err
        assert "removed 1 container of a killed tunlab process" in err
        (owned,) = cleanup.remove_run_containers(engine, run_id)
        assert f"owned {owned}" in out


class TestErrors:
    def test_missing_engine_exits_69(self, start, project):
        running = start(project(), env={"DOCKER_HOST": "unix:///nonexistent/docker.sock"})
        message = (
            "tunlab: local: there is no engine: the socket /nonexistent/docker.sock does not exist."
            " Start it, or give its address in DOCKER_HOST or a Docker context.\n"
        )
        assert running.end() == (69, "", message)

    def test_error_of_inaccessible_docker_socket_names_the_group(self, engine, as_nobody, child_environment):
        socket = engine.endpoint.socket
        done = subprocess.run(
            [*as_nobody(), sys.executable, "-m", "tunlab", "test", "--engine", f"unix://{socket}"],
            env=child_environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 69
        assert f"user 65534 may not use the engine's socket {socket}. Join the group that owns it" in done.stderr
        assert done.stderr.count("\n") == 1

    def test_missing_image_exits_69(self, start, project):
        status, _, err = start(project(), "--image", "localhost/no-such-image:1").end()
        assert (status, "there is no image localhost/no-such-image:1, and it cannot be pulled" in err) == (69, True)

    def test_missing_mount_source_exits_69(self, start, project, tmp_path):
        path = tmp_path / "typo"
        status, _, err = start(project(test_it="def test_it(): pass\n"), "--mount", f"{path}:/data").end()
        assert status == 69
        assert f"bind source path does not exist: {path}. Name a file or directory that exists on the engine's" in err
        assert not path.exists()

    def test_failed_image_build_shows_pip_output(self, start, project):
        status, _, err = start(project(), "--install", "./nothing-here").end()
        assert status == 69
        assert 'the image cannot be built: RUN ["python3", "-m", "pip", "install"' in err
        assert "nothing-here" in err.splitlines()[-1]  # This is pip's error.
        assert "Traceback" not in err

    def test_error_of_missing_tun_driver_suggests_modprobe(self, engine, image, run_id, monkeypatch):
        monkeypatch.setitem(LEAST_PRIVILEGES, "devices", ["/dev/net/tun-that-is-not-there"])
        created = Container.create(engine, image, ["true"], run=run_id, role="test")
        with created as container, pytest.raises(EngineError) as raised:
            container.start()
        assert raised.value.remedy == "load the driver on the engine's machine: `modprobe tun`"

    def test_doctor_in_container_reports_missing_tun_driver(self, engine, run_id):
        image = ensure_suite_image(engine)
        command = ["python3", "-m", "tunlab", "doctor"]
        created = Container.create(engine, image, command, run=run_id, role="test", privileges="none")
        with created as container, container.attach() as attached:
            container.start()
            output = b"".join(data for _, data in attached.read_output()).decode()
        assert "MISSING  /dev/net/tun" in output
        assert "pass --device /dev/net/tun to the container" in output
