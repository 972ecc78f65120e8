"""What a test leaves behind is named, and what it does not is no alarm."""

import pytest

LEAKING = """
    import socket, subprocess, threading
    from tunlab.kernel.netns import Netns
    kept = []

    def test_descriptors(tun):
        kept.append(socket.create_server(("127.0.0.1", 0)))
        kept.append(open("/dev/null"))
        kept.append(Netns.create())

    def test_thread(netns):
        kept.append(threading.Event())
        threading.Thread(target=kept[-1].wait, name="waiter").start()

    def test_process(make_netns):
        kept.append(subprocess.Popen(["sleep", "1000"]))

    def test_ended_process(netns):
        kept.append(subprocess.Popen(["true"]))
        import os
        os.waitid(os.P_PID, kept[-1].pid, os.WEXITED | os.WNOWAIT)

    def test_without_tunlab():
        for each in kept:
            if isinstance(each, subprocess.Popen):
                each.kill(); each.wait()
            elif isinstance(each, threading.Event):
                each.set()
            else:
                each.close()
        kept[:] = [open("/dev/zero")]
"""
NAMES = [
    "*descriptor *: a socket, AF_INET SOCK_STREAM, listening on 127.0.0.1 port * (socket:*)",
    "*descriptor *: /dev/null",
    "*descriptor *: a network namespace (net:*)",
    "*thread 'waiter'",
    "*process *: sleep 1000",
    "*process *: true, which has ended, and nobody has waited for it",
]


def test_each_is_named_and_fails_its_test(pytester, run, parallel):
    pytester.makepyfile(LEAKING)
    result = run(*parallel, *(["--dist", "loadfile"] if parallel else []), warnings="default")
    result.assert_outcomes(passed=5, errors=4)
    for name in NAMES:
        result.stdout.fnmatch_lines([name])
    result.stdout.no_fnmatch_line("*/dev/zero*")


def test_a_warning_instead(pytester, run):
    pytester.makepyfile(LEAKING)
    result = run("--tunlab-leaks=warn", warnings="default")
    assert result.parseoutcomes()["passed"] == 5
    assert "errors" not in result.parseoutcomes()
    for name in NAMES:
        result.stdout.fnmatch_lines([name])


def test_nothing_instead(pytester, run):
    pytester.makepyfile(LEAKING)
    pytester.makeini("[pytest]\ntunlab_leaks = off\n")
    result = run(warnings="default")
    assert result.parseoutcomes()["passed"] == 5
    result.stdout.no_fnmatch_line("*left behind*")


def test_an_unknown_word_is_refused(pytester, run):
    pytester.makeini("[pytest]\ntunlab_leaks = maybe\n")
    result = run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*tunlab_leaks = 'maybe'*give one of error, warn, off"])


def test_a_test_that_fails_is_not_asked(pytester, run):
    """Its traceback holds its frames, and they hold what it had open."""
    pytester.makepyfile(
        """
        import socket
        def test_x(netns):
            server = socket.create_server(("127.0.0.1", 0))
            assert server is None
        """
    )
    result = run(warnings="default")
    result.assert_outcomes(failed=1)


def test_what_a_wider_fixture_makes_in_the_middle_of_a_test_is_the_fixtures(pytester, run):
    pytester.makepyfile(
        """
        import socket, subprocess, threading
        import pytest

        @pytest.fixture(scope="module")
        def lasting():
            over = threading.Event()
            thread = threading.Thread(target=over.wait)
            thread.start()
            with socket.create_server(("127.0.0.1", 0)) as server, subprocess.Popen(["sleep", "1000"]) as program:
                yield server
                program.kill()
                over.set()
                thread.join()

        def test_asked_for_late(tun, request):
            request.getfixturevalue("lasting")

        def test_last():
            pass  # the fixture lives until here
        """
    )
    run(warnings="default").assert_outcomes(passed=2)


def test_a_thread_that_is_about_to_end_is_given_the_time(pytester, run):
    """It ends when it is waited for, and not before."""
    pytester.makepyfile(
        """
        import threading

        class Obliging(threading.Thread):
            def __init__(self):
                super().__init__(daemon=True)
                self.over = threading.Event()
            def run(self):
                self.over.wait()
            def join(self, timeout=None):
                self.over.set()
                super().join()

        def test_x(netns):
            Obliging().start()
        """
    )
    run(warnings="default").assert_outcomes(passed=1)


def test_what_may_stay_is_named_by_patterns(pytester, run):
    pytester.makepyfile(
        """
        import concurrent.futures, subprocess
        import pytest

        kept = []

        @pytest.fixture(scope="module")
        def pool():
            with concurrent.futures.ThreadPoolExecutor(thread_name_prefix="loaders") as pool:
                yield pool
            for each in kept:
                each.kill()
                each.wait()

        def test_its_thread_starts_when_there_is_work(pool, tun):
            assert pool.submit(abs, -1).result() == 1

        def test_others(pool, tun):
            kept.append(subprocess.Popen(["sleep", "1000"]))
            kept.append(subprocess.Popen(["sleep", "1001"]))

        def test_last():
            pass
        """
    )
    result = run(warnings="default")
    result.assert_outcomes(passed=3, errors=2)
    result.stdout.fnmatch_lines(["*thread 'loaders_0'", "*tunlab_leaks_ignore*"])
    pytester.makeini("[pytest]\ntunlab_leaks_ignore =\n    loaders_*\n    sleep 1000\n")
    result = run(warnings="default")
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*process *: sleep 1001"])
    result.stdout.no_fnmatch_line("*process *: sleep 1000")


@pytest.mark.slow
def test_no_false_alarm(pytester, run, parallel):
    pytester.makepyfile(
        """
        import asyncio, concurrent.futures, logging, multiprocessing, socket, subprocess, threading
        import pytest

        @pytest.fixture(scope="session")
        def server():
            with socket.create_server(("127.0.0.1", 0)) as server:
                thread = threading.Event()
                waiter = threading.Thread(target=thread.wait)
                waiter.start()
                yield server
                thread.set()
                waiter.join()

        @pytest.fixture(scope="module")
        def program():
            with subprocess.Popen(["sleep", "1000"]) as program:
                yield program
                program.kill()

        @pytest.fixture
        def opened(tmp_path):
            with (tmp_path / "x").open("w") as file:
                yield file

        def test_fixtures_of_a_wider_scope(tun, server, program):
            pass

        def test_asked_for_late(tun, request):
            request.getfixturevalue("server")

        def test_the_other_way_round(opened, tun):
            pass

        def test_programs_and_sockets_of_tunlab(tun, netns):
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

        def test_threads_about_to_end(netns):
            with concurrent.futures.ThreadPoolExecutor() as pool:
                assert list(pool.map(str, [1])) == ["1"]
            threading.Thread(target=lambda: None).start()

        def test_a_cycle(netns):
            class Holder: pass
            holder = Holder()
            holder.self, holder.socket = holder, socket.socketpair()[0]
            holder.socket.close()

        def test_multiprocessing(netns):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                assert pool.map(abs, [-1]) == [1]
                pool.close()
                pool.join()

        @pytest.mark.lab("two-hosts")
        def test_lab(lab):
            list(lab)[0].run(["true"])

        @pytest.mark.xfail
        def test_expected(tun):
            server = socket.create_server(("127.0.0.1", 0))
            assert False
        """
    )
    run(*parallel, warnings="default").assert_outcomes(passed=10, xfailed=1)
