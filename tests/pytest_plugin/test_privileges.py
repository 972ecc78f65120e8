"""pytest runs without root or capabilities."""

import pytest

from tests.pytest_plugin.example_tests import ALL_FIXTURES, is_one_sentence


class TestMissingPrivileges:
    @pytest.mark.parametrize("parallel", [(), ("-n", "2")], ids=["serial", "parallel"])
    def test_missing_capability_fails_each_test_with_one_sentence(self, pytester, run, without_capabilities, parallel):
        pytester.makepyfile("def test_x(tun): pass\ndef test_y(netns): pass\ndef test_z(): pass\n")
        result = run(*parallel, prefix=without_capabilities)
        result.assert_outcomes(passed=1, errors=2)
        result.stdout.fnmatch_lines(["*CAP_SYS_ADMIN*--tunlab-skip-unprivileged skips such tests."])
        assert is_one_sentence(result, "tunlab: create a network namespace")

    def test_skip_unprivileged_option_skips_tests_with_the_reason(self, pytester, run, without_capabilities):
        pytester.makepyfile("def test_x(tun): pass\n")
        result = run("--tunlab-skip-unprivileged", "-rs", prefix=without_capabilities)
        result.assert_outcomes(skipped=1)
        result.stdout.fnmatch_lines(["SKIPPED*CAP_SYS_ADMIN*"])

    def test_error_of_missing_dev_net_tun_names_dev_net_tun(self, pytester, run, without_tun_node):
        pytester.makepyfile("def test_x(tun): pass\ndef test_y(netns): pass\n")
        result = run(prefix=without_tun_node)
        result.assert_outcomes(passed=1, errors=1)
        result.stdout.fnmatch_lines(["*/dev/net/tun*"])
        assert is_one_sentence(result, "tunlab: ")

    def test_error_of_xdist_run_without_root_suggests_rootless_option(self, pytester, run, as_nobody):
        pytester.makepyfile("def test_x(tun): pass\n")
        result = run("-n", "1", prefix=as_nobody(work=pytester.path))
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*--tunlab-rootless*"])


class TestRootless:
    def test_serial_run_without_root_enters_a_user_namespace(self, pytester, run, as_nobody):
        pytester.makepyfile(
            ALL_FIXTURES + "\n    def test_user_id():\n        import os\n        assert os.getuid() == 65534\n"
        )
        run(prefix=as_nobody(work=pytester.path)).assert_outcomes(passed=8)

    def test_xdist_run_with_rootless_option_enters_user_namespaces(self, pytester, run, as_nobody):
        pytester.makepyfile(ALL_FIXTURES)
        run("-n", "2", "--tunlab-rootless", prefix=as_nobody(work=pytester.path)).assert_outcomes(passed=7)

    def test_popen_ping_in_user_namespace_receives_reply(self, pytester, run, as_nobody):
        pytester.makepyfile(
            """
            from tunlab.packet import ICMP, reply

            def test_ping(tun):
                program = tun.popen(["ping", "-c", "1", "10.1.2.3"])
                request = tun.expect(ICMP.where(type=8))
                tun.inject(*reply(request), request.payload)
                assert program.wait(20) == 0
            """
        )
        run(prefix=as_nobody(work=pytester.path)).assert_outcomes(passed=1)

    def test_error_of_inaccessible_dev_net_tun_shows_its_file_mode(self, pytester, run, as_nobody):
        pytester.makepyfile("def test_x(tun): pass\n")
        result = run(prefix=as_nobody(mode="600", work=pytester.path))
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*/dev/net/tun*600*"])
