"""The check for sockets, namespaces and processes that a test leaves open (--tunlab-leaks), in real pytest runs."""

import pytest

LEAKING = """
    import socket, subprocess
    from tunlab.kernel.namespace.netns import Netns
    leaked = []

    def test_descriptors(tun):
        leaked.append(socket.create_server(("127.0.0.1", 0)))
        leaked.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        leaked.append(Netns.create())
        leaked.append(open("/dev/net/tun", "rb"))

    def test_process(make_netns):
        leaked.append(subprocess.Popen(["sleep", "1000"]))

    def test_ended_process(netns):
        leaked.append(subprocess.Popen(["true"]))
        import os
        os.waitid(os.P_PID, leaked[-1].pid, os.WEXITED | os.WNOWAIT)

    def test_without_tunlab():
        for each in leaked:
            if isinstance(each, subprocess.Popen):
                each.kill(); each.wait()
            else:
                each.close()
        leaked[:] = [socket.socket()]
"""
NAMES = [
    "*descriptor *: socket AF_INET SOCK_STREAM, listening on 127.0.0.1 port *",
    "*descriptor *: socket AF_INET SOCK_DGRAM",
    "*descriptor *: network namespace net:*",
    "*descriptor *: TUN or TAP device",
    "*process *: sleep 1000",
    "*process *: true (ended; call wait() on it)",
]


def test_leaks_option_default_warns_and_names_each_leaked_resource(pytester, run, parallel):
    pytester.makepyfile(LEAKING)
    result = run(*parallel, *(["--dist", "loadfile"] if parallel else []), warnings="default")
    assert result.parseoutcomes()["passed"] == 4
    assert "errors" not in result.parseoutcomes()
    for name in NAMES:
        result.stdout.fnmatch_lines([name])
    result.stdout.no_fnmatch_line("*test_without_tunlab left open*")


def test_leaks_option_error_fails_each_leaking_test(pytester, run, parallel):
    pytester.makepyfile(LEAKING)
    result = run("--tunlab-leaks=error", *parallel, *(["--dist", "loadfile"] if parallel else []), warnings="default")
    result.assert_outcomes(passed=4, errors=3)
    result.stdout.no_fnmatch_line("*traceback*")
    for name in NAMES:
        result.stdout.fnmatch_lines([name])


def test_leaks_option_off_reports_no_leak(pytester, run):
    pytester.makepyfile(LEAKING)
    pytester.makeini("[pytest]\ntunlab_leaks = off\n")
    result = run(warnings="default")
    assert result.parseoutcomes()["passed"] == 4
    result.stdout.no_fnmatch_line("*left open*")


def test_leaks_option_with_unknown_value_is_a_usage_error(pytester, run):
    pytester.makeini("[pytest]\ntunlab_leaks = maybe\n")
    result = run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*tunlab_leaks is 'maybe'. Set it to one of warn, error, off.*"])


def test_failed_test_is_not_checked_for_leaks(pytester, run):
    """A failed test is not checked, because its traceback keeps its local variables alive, and so its sockets."""
    pytester.makepyfile(
        """
        import socket
        def test_x(netns):
            server = socket.create_server(("127.0.0.1", 0))
            assert server is None
        """
    )
    run("--tunlab-leaks=error", warnings="default").assert_outcomes(failed=1)


def test_module_fixture_set_up_during_test_is_not_reported_as_leak(pytester, run):
    pytester.makepyfile(
        """
        import socket, subprocess
        import pytest

        @pytest.fixture(scope="module")
        def server_and_program():
            with socket.create_server(("127.0.0.1", 0)) as server, subprocess.Popen(["sleep", "1000"]) as program:
                yield server
                program.kill()

        def test_first(tun, request):
            request.getfixturevalue("server_and_program")

        def test_last():
            pass  # the fixture lives until here
        """
    )
    run("--tunlab-leaks=error", warnings="default").assert_outcomes(passed=2)


@pytest.mark.slow
def test_common_test_patterns_are_not_reported_as_leaks(pytester, run, parallel):
    pytester.makepyfile(
        """
        import asyncio, concurrent.futures, logging, multiprocessing, socket, subprocess, threading
        import pytest

        @pytest.fixture(scope="session")
        def server():
            with socket.create_server(("127.0.0.1", 0)) as server:
                yield server

        @pytest.fixture(scope="module")
        def program():
            with subprocess.Popen(["sleep", "1000"]) as program:
                yield program
                program.kill()

        @pytest.fixture
        def opened(tmp_path):
            with (tmp_path / "x").open("w") as file:
                yield file

        def test_wider_fixtures(tun, server, program):
            pass

        def test_wider_fixture_requested_late(tun, request):
            request.getfixturevalue("server")

        def test_own_fixture_before_tun(opened, tun):
            pass

        def test_programs_and_sockets_of_the_namespace(tun, netns):
            tun.popen(["sleep", "1000"])
            tun.listen(80)
            tun.ping(tun.peer)
            netns.run(["true"])

        def test_capture(tun, capfd, caplog):
            print("x")
            logging.getLogger().warning("y")
            capfd.readouterr()

        def test_event_loop(tun):
            async def work():
                return await asyncio.to_thread(lambda: 1)
            assert asyncio.run(work()) == 1

        def test_event_loop_that_stays_open(tun):
            loops.append(asyncio.new_event_loop())

        loops = []

        def test_threads(netns):
            with concurrent.futures.ThreadPoolExecutor() as pool:
                assert list(pool.map(str, [1])) == ["1"]
            threading.Thread(target=lambda: None).start()
            loops.pop().close()

        def test_reference_cycle(netns):
            class Holder: pass
            holder = Holder()
            holder.self, holder.socket = holder, socket.socketpair()[0]
            holder.socket.close()

        @pytest.mark.parametrize("method", ["spawn", "forkserver"])
        def test_multiprocessing(netns, method):
            with multiprocessing.get_context(method).Pool(1) as pool:
                assert pool.map(abs, [-1]) == [1]
                pool.close()
                pool.join()

        @pytest.mark.lab("two-hosts")
        def test_lab(lab):
            list(lab)[0].run(["true"])

        @pytest.mark.xfail
        def test_expected_failure(tun):
            server = socket.create_server(("127.0.0.1", 0))
            assert False
        """
    )
    distribution = ["--dist", "loadfile"] if parallel else []
    result = run("--tunlab-leaks=error", *parallel, *distribution, warnings="default")
    result.assert_outcomes(passed=12, xfailed=1)
