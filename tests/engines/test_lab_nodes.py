"""Tests of containers as nodes of a lab: links, errors, `tunlab up` and removal."""

import io
import signal
import subprocess
import sys
import tarfile

import pytest

from tunlab.engines.containers import cleanup
from tunlab.engines.containers.container import Container
from tunlab.engines.lab_nodes import LabContainers, remove_recorded
from tunlab.errors import EngineError, LabError
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.link_events import LinkEvents
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.lab import Lab, PersistentLab
from tunlab.topology import parse_lab, plan

pytestmark = [pytest.mark.docker, pytest.mark.slow]

WEB = """
name = "web"
[nodes]
client = {}
router = { forward = true }
web = { image = "IMAGE", env = { GREETING = "hello" }, files = { "/srv/page.txt" = "page.txt" }, run = [RUN] }
[[links]]
ends = ["client", "router"]
[[links]]
ends = ["router", "web"]
"""
SERVER = '{ command = "python3 -m http.server 80 --directory /srv", ready = { port = 80 } }'


@pytest.fixture
def text(image, engine):
    """A function: `text(run)` returns the lab file WEB, with `run` as the program to run in the container web."""
    return lambda run=SERVER: WEB.replace("IMAGE", image).replace("RUN", run)


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """The directory of the lab file, with a file that WEB mounts, and a state directory for persistent labs."""
    (tmp_path / "page.txt").write_text("a page of the container's")
    monkeypatch.setenv("TUNLAB_RUN", str(tmp_path / "run"))
    return tmp_path


@pytest.fixture
def tunlab(directory, child_environment):
    """A function: `tunlab("up", "web.toml")` runs a command in the directory and returns the finished process."""

    def run(*arguments, prefix=(), **keywords):
        return subprocess.run(
            [*prefix, sys.executable, "-m", "tunlab", *arguments],
            cwd=directory, env=child_environment, capture_output=True, text=True, timeout=60, check=False, **keywords,
        )  # fmt: skip

    yield run
    for lab in PersistentLab.ls():
        lab.down(lambda record: remove_recorded(record.engine, record.run))


def interfaces_of(container):
    with Netns.of_process(container.pid) as netns, Rtnl(netns) as rtnl:
        return [link.name for link in rtnl.links()]


def containers(engine, run):
    return cleanup.list_run_containers(engine, run)


class TestLab:
    def test_container_answers_ping_and_http_through_a_router(self, engine, text, directory, need):
        planned = plan(parse_lab(text()))
        with LabContainers(planned, persistent=False) as nodes:
            with Lab.from_plan(planned, base=directory).start(containers=nodes) as lab:
                assert len(containers(engine, nodes.record.run)) == 1
                assert all(lab.ping_all().values())
                curl = [need("curl"), "-sS", "http://web/page.txt"]
                assert lab["client"].run(curl, capture_output=True, text=True, check=True).stdout == (
                    "a page of the container's"
                )
                # In the container, /etc/hosts has the addresses of the lab's nodes.
                output = subprocess.run(
                    ["nsenter", "-t", str(nodes.pid("web")), "-a", "sh", "-c", "hostname; getent hosts client; env"],
                    capture_output=True, text=True, check=True,
                ).stdout  # fmt: skip
                assert output.startswith("web\n10.0.1.1")
            # Closing the lab does not remove the container; closing LabContainers does.
            assert len(containers(engine, nodes.record.run)) == 1
        assert containers(engine, nodes.record.run) == []

    def test_lab_fixture_starts_containers(self, engine, text, pytester, monkeypatch):
        for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT"):
            monkeypatch.delenv(name, raising=False)
        (pytester.path / "page.txt").write_text("page")
        (pytester.path / "web.toml").write_text(text())
        pytester.makepyfile(
            """
            import pytest
            @pytest.mark.lab("web.toml")
            def test_x(lab):
                assert lab.ping_all()["client", "web"]
                assert lab["web"].run(["true"]).returncode == 0
            """
        )
        pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)

    def test_existing_container_is_neither_killed_nor_removed(self, engine, image, run_id, need):
        script = "import time; print('up', flush=True); time.sleep(1000)"
        created = Container.create(engine, image, ["python3", "-c", script], run=run_id, role="test", privileges="none")
        with created as running:
            running.start()
            toml = f'[nodes]\na = {{}}\nb = {{ container = "{running.id[:12]}" }}\n[[links]]\nends = ["a", "b:lab0"]\n'
            planned = plan(parse_lab(toml))
            with (
                LabContainers(planned, persistent=False) as nodes,
                Lab.from_plan(planned).start(containers=nodes) as lab,
            ):
                assert lab.ping_all() == {("a", "b"): True, ("b", "a"): True}
                program = lab["b"].popen(["sleep", "1000"])
            assert program.wait() == -signal.SIGKILL
            assert running.pid
            assert containers(engine, run_id) == [running.id]

    @pytest.mark.parametrize("network", ["host", "container"])
    @pytest.mark.parametrize("prefix", [(), ("unshare", "--net")], ids=["up in host netns", "up in own netns"])
    def test_up_container_with_host_network_exits_69(self, engine, image, run_id, tunlab, directory, network, prefix):
        options = {"run": run_id, "role": "test", "privileges": "none"}
        with Container.create(engine, image, ["sleep", "1000"], network="host", **options) as running:
            running.start()
            # The settings of the second container name the first container's network, not the host's.
            mode = "host" if network == "host" else f"container:{running.id}"
            with Container.create(engine, image, ["sleep", "1000"], network=mode, **options) as joined:
                joined.start()
                (directory / "x.toml").write_text(
                    f'[nodes]\na = {{}}\nb = {{ container = "{joined.id}" }}\n[[links]]\nends = ["a", "b:lab0"]\n'
                )
                done = tunlab("up", "x.toml", prefix=prefix)
        assert done.returncode == 69, done.stderr
        assert "shares the machine's network namespace. Start the container without --network host" in done.stderr

    def test_two_existing_containers_lose_only_the_interfaces_of_the_lab(self, engine, image, run_id):
        created = [
            Container.create(engine, image, ["sleep", "1000"], run=run_id, role="test", privileges="none")
            for _ in range(2)
        ]
        with created[0] as one, created[1] as other:
            one.start()
            other.start()
            names = f'a = {{ container = "{one.id}" }}\nb = {{ container = "{other.id}" }}\n'
            planned = plan(parse_lab(f'[nodes]\n{names}[[links]]\nends = ["a:lab0", "b:lab0"]\n'))
            with (
                LabContainers(planned, persistent=False) as nodes,
                Lab.from_plan(planned).start(containers=nodes) as lab,
            ):
                assert all(lab.ping_all().values())
                with (
                    LabContainers(planned, persistent=False) as again,
                    pytest.raises(LabError, match="is already in another lab"),
                ):
                    Lab.from_plan(planned).start(containers=again)
            assert interfaces_of(one) == interfaces_of(other) == ["lo"]

    def test_lab_leaves_no_container_after_its_process_is_killed(self, engine, text, directory, child_environment):
        """The guardian kills the container, and the engine removes it."""
        source = """
            import os, signal, sys
            from tunlab.engines.lab_nodes import LabContainers
            from tunlab.lab import Lab
            from tunlab.topology import parse_lab, plan
            planned = plan(parse_lab(sys.argv[1]))
            nodes = LabContainers(planned, persistent=False)
            lab = Lab.from_plan(planned).start(containers=nodes)
            print(nodes.record.run, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        """.replace("\n            ", "\n")
        done = subprocess.run(
            [sys.executable, "-c", source, text()],
            cwd=directory, env=child_environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == -signal.SIGKILL, done.stderr
        run = done.stdout.strip()
        for each in containers(engine, run):
            cleanup._wait_until_removed(engine, each)
        assert containers(engine, run) == []

    @pytest.mark.parametrize(
        ("link", "keys", "message"),
        [
            ("b", "", r'already has an interface eth0\. Name the lab\'s interface: ends = \["…", "b:lab0"\]'),
            ("b:lab0", "", r"already has a default route\. Give the node other routes: routes = \[{ to = "),
            ("b:lab0", ', routes = [{ to = "10.0.0.0/16", via = "10.0.1.1" }]', None),
        ],
    )
    def test_existing_container_keeps_its_interfaces_and_routes(self, engine, image, run_id, link, keys, message):
        created = Container.create(engine, image, ["sleep", "1000"], run=run_id, role="test")
        # The test creates eth0 itself, because the engine would also create a link in the machine's namespace.
        with created as running, Netns.create() as bridge:
            running.start()
            with Netns.of_process(running.pid) as netns, Rtnl(netns) as rtnl:
                rtnl.add_veth("eth0", "eth0", peer_netns=bridge)
                rtnl.add_address(rtnl.link_index("eth0"), "172.17.0.2/16")
                rtnl.set_link(rtnl.link_index("eth0"), up=True)
                rtnl.add_route("default", via="172.17.0.1")
            before = links_without_lab(running)
            toml = (
                f'[nodes]\na = {{ forward = true }}\nb = {{ container = "{running.id[:12]}"{keys} }}\nc = {{}}\n'
                f'[[links]]\nends = ["a", "{link}"]\n[[links]]\nends = ["a", "c"]\n'
            )
            planned = plan(parse_lab(toml))
            with LabContainers(planned, persistent=False) as nodes:
                if message is None:
                    with Lab.from_plan(planned).start(containers=nodes) as lab:
                        assert lab.ping_all()["c", "b"]
                else:
                    with pytest.raises(LabError, match=message):
                        Lab.from_plan(planned).start(containers=nodes)
            assert links_without_lab(running) == before


def links_without_lab(running):
    """Wait until the lab's interface is removed from a container; return the indexes and names of its interfaces."""
    with Netns.of_process(running.pid) as netns, LinkEvents({"": netns}) as events, Rtnl(netns) as rtnl:
        while any(link.name == "lab0" for link in rtnl.links()):
            assert events.wait(20)
            events.read()
        return [(link.index, link.name) for link in rtnl.links()]


class TestPersistentLab:
    def test_up_exec_and_down_work_with_a_container(self, engine, text, tunlab, directory):
        (directory / "web.toml").write_text(text())
        done = tunlab("up", "web.toml")
        assert done.returncode == 0, done.stderr
        assert tunlab("ping-all", "web").returncode == 0
        shown = tunlab("exec", "web/web", "--", "sh", "-c", "cat /srv/page.txt; echo; echo $GREETING; exit 5")
        assert (shown.returncode, shown.stdout) == (5, "a page of the container's\nhello\n")
        absent = tunlab("exec", "web/web", "--", "no-such-program")
        assert absent.returncode == 127
        assert "there is no program 'no-such-program' in the container (ENOENT)" in absent.stderr
        run = PersistentLab("web").state.containers.run
        assert len(containers(engine, run)) == 1
        (container,) = containers(engine, run)
        done = tunlab("down", "web")
        assert (done.returncode, containers(engine, run)) == (0, []), done.stderr
        assert done.stdout == f"web is down: removed 2 namespaces, 1 container ({container[:12]})\n"

    @pytest.mark.parametrize("call", ["connect", "setns", "mount"])
    def test_gc_removes_container_of_killed_tunlab_up(
        self, engine, text, tunlab, directory, child_environment, need, call
    ):
        (directory / "web.toml").write_text(text())
        when = {"connect": 4, "setns": 2, "mount": 2}[call]
        strace = [need("strace"), "-f", "-qq", "-o", "/dev/null", "-e", f"inject={call}:signal=KILL:when={when}"]
        killed = subprocess.run(
            [*strace, sys.executable, "-m", "tunlab", "up", "web.toml"],
            cwd=directory, env=child_environment, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        assert killed.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
        state = PersistentLab("web").state
        left = ", ".join(each[:12] for each in containers(engine, state.containers.run))
        done = tunlab("gc")
        assert (done.returncode, f"1 container ({left})" in done.stdout) == (0, bool(left)), done.stdout
        assert PersistentLab.ls() == []
        assert containers(engine, state.containers.run) == []
        assert tunlab("up", "web.toml").returncode == 0

    def test_down_without_engine_raises_lab_error(self, text, tunlab, directory):
        (directory / "web.toml").write_text(text())
        assert tunlab("up", "web.toml").returncode == 0
        with pytest.raises(LabError, match="is a container, which needs an engine"):
            PersistentLab("web").down()
        assert tunlab("down", "web").returncode == 0


class TestErrors:
    @pytest.mark.parametrize(
        ("run", "message"),
        [
            ('"python3 -c pass"', "exited"),
            ('{ command = "sleep 1000", ready = { port = 80 }, timeout = "100ms" }', "no socket listens on TCP port"),
            ('{ command = "echo hello", ready = { line = "goodbye" } }', "exited"),
            ('"no-such-program"', "no-such-program failed: No such file"),
        ],
    )
    def test_up_with_failing_program_exits_69_or_73(self, engine, text, tunlab, directory, run, message):
        (directory / "web.toml").write_text(text(run))
        done = tunlab("up", "web.toml")
        if "ready" in run or done.returncode:  # Without `ready`, `tunlab up` may succeed before the program exits.
            assert (done.returncode in (69, 73), message in done.stderr) == (True, True), done.stderr
            assert "Traceback" not in done.stderr
            assert PersistentLab.ls() == []

    @pytest.mark.parametrize(
        ("node", "host", "message"),
        [
            ('image = "localhost/no-such-image:1"', None, "there is no image localhost/no-such-image:1"),
            (
                'container = "no-such-container"',
                None,
                "there is no container 'no-such-container'. Running containers are ",
            ),
            ('image = "x"', "unix:///nonexistent.sock", "there is no engine: the socket /nonexistent.sock"),
        ],
    )
    def test_up_with_missing_image_container_or_engine_exits_69(
        self, engine, tunlab, directory, monkeypatch, child_environment, node, host, message
    ):
        (directory / "x.toml").write_text(f"[nodes]\na = {{ {node} }}\n")
        if host:
            child_environment["DOCKER_HOST"] = host
        done = tunlab("up", "x.toml")
        assert (done.returncode, message in done.stderr, done.stderr.count("\n")) == (69, True, 1), done.stderr
        assert PersistentLab.ls() == []
        if not node.startswith('image = "localhost'):
            # `tunlab check` does not pull images, so it cannot find a missing one.
            checked = tunlab("check", "x.toml")
            assert (checked.returncode, message in checked.stderr) == (78, True), checked.stderr

    def test_error_of_image_without_command_suggests_run_key(self, engine, tunlab, directory, run_id):
        engine.api.import_image_from_data(empty_tar(), repository="localhost/tunlab-bare", tag=run_id)
        name = f"localhost/tunlab-bare:{run_id}"
        try:
            (directory / "x.toml").write_text(f'[nodes]\na = {{ image = "{name}" }}\n')
            done = tunlab("up", "x.toml")
        finally:
            engine.api.remove_image(name)
        assert done.returncode == 69
        assert 'Give the node a command, such as run = ["sleep infinity"]' in done.stderr
        assert PersistentLab.ls() == []

    def test_lab_on_engine_of_another_machine_raises_engine_error(self, engine, monkeypatch, tmp_path):
        planned = plan(parse_lab('[nodes]\na = { image = "x" }\n'))
        with forwarded(engine, tmp_path) as address:
            monkeypatch.setenv("DOCKER_HOST", address)
            with pytest.raises(EngineError, match=r"is on another machine\. Name an engine of this machine"):
                LabContainers(planned, persistent=False)


def empty_tar():
    archive = io.BytesIO()
    tarfile.open(fileobj=archive, mode="w").close()
    return archive.getvalue()


class forwarded:  # noqa: N801 - a context manager
    """A context manager that forwards a TCP port of this machine to the engine's socket."""

    def __init__(self, engine, tmp_path):
        source = """
            import asyncio, sys
            async def pump(reader, writer):
                while chunk := await reader.read(65536):
                    writer.write(chunk)
                    await writer.drain()
                writer.close()
            async def serve(reader, writer):
                engine_reader, engine_writer = await asyncio.open_unix_connection(sys.argv[1])
                copies = pump(reader, engine_writer), pump(engine_reader, writer)
                await asyncio.gather(*copies, return_exceptions=True)
            async def main():
                server = await asyncio.start_server(serve, "127.0.0.1", 0)
                print(server.sockets[0].getsockname()[1], flush=True)
                await server.serve_forever()
            asyncio.run(main())
        """.replace("\n            ", "\n")
        self._process = subprocess.Popen(
            [sys.executable, "-c", source, str(engine.endpoint.socket)], stdout=subprocess.PIPE, text=True
        )

    def __enter__(self):
        return f"tcp://127.0.0.1:{int(self._process.stdout.readline())}"

    def __exit__(self, *_):
        self._process.kill()
        with self._process:
            pass
