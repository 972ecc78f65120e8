"""The fixtures `lab` and `make_lab`, in real pytest runs."""

import os

import pytest

TWO = """
name = "two"

[nodes]
a = {}
b = {}

[[links]]
ends = ["a", "b"]
"""


class TestLabSource:
    def test_make_lab_finds_file_beside_test_then_in_root_directory_then_ready_lab(self, pytester, run):
        pytester.makefile(".toml", router=TWO.replace('"two"', '"root"'), other=TWO.replace('"two"', '"other"'))
        folder = pytester.mkdir("folder")
        (folder / "router.toml").write_text(TWO.replace('"two"', '"beside"'))
        (folder / "test_which.py").write_text(
            "import pytest\n"
            "@pytest.mark.parametrize(('which', 'name'), [('router.toml', 'beside'), ('other.toml', 'other'),"
            " ('two-hosts', 'two-hosts'), ('two-hosts.toml', 'two-hosts'), ('../router.toml', 'root')])\n"
            "def test_x(make_lab, which, name):\n"
            "    assert make_lab(which).name == name\n"
        )
        run().assert_outcomes(passed=5)

    def test_lab_marker_accepts_toml_text_or_tables_or_the_name_of_a_lab(self, pytester, run):
        pytester.makepyfile(
            f'''
            import pytest

            TWO = """{TWO.replace(chr(10), chr(10) + " " * 12)}"""

            @pytest.mark.lab(TWO)
            def test_text(lab):
                assert sorted(lab.nodes) == ["a", "b"]

            @pytest.mark.lab(TWO, name="mine")
            def test_name(lab):
                assert lab.name == "mine"

            @pytest.mark.lab(nodes={{"a": {{}}, "b": {{}}, "c": {{}}}}, links=[{{"ends": ["a", "b", "c"]}}])
            def test_tables(lab):
                assert lab["a"].run(["ping", "-c", "1", "c"]).returncode == 0

            def test_make_lab_makes_many(make_lab):
                one, other = make_lab(TWO), make_lab("two-hosts")
                assert one["a"].netns.identity != other["a"].netns.identity if "a" in other.nodes else True
            '''
        )
        run().assert_outcomes(passed=4)

    def test_lab_marker_closest_to_the_test_is_used(self, pytester, run):
        pytester.makefile(".toml", two=TWO)
        pytester.makepyfile(
            """
            import pytest

            @pytest.mark.lab("router")
            class TestClass:
                @pytest.mark.lab("two.toml")
                def test_own(self, lab):
                    assert lab.name == "two"

                def test_outer(self, lab):
                    assert lab.name == "router"
            """
        )
        run("--strict-markers").assert_outcomes(passed=2)

    @pytest.mark.parametrize(
        ("mark", "sentence"),
        [
            ("", "*the lab fixture needs a lab. Add @pytest.mark.lab(*"),
            ("@pytest.mark.lab", "*takes one lab file*"),
            ("@pytest.mark.lab('a', 'b')", "*takes one lab file*"),
            ("@pytest.mark.lab(7)", "*takes one lab file*"),
            ("@pytest.mark.lab('ruoter')", "*ruoter*Did you mean router[?]*"),
            ("@pytest.mark.lab('./no.toml')", "*no.toml: No such file*"),
            ("@pytest.mark.lab('router', colour=1)", "*no setting 'colour'*"),
            ("@pytest.mark.lab('router', name='UPPER')", "*'UPPER', which is not a valid lab name*"),
            ("@pytest.mark.lab(nods={})", "*`nods` is not a known key. Did you mean nodes[?]*"),
            ("@pytest.mark.lab('[nodes]\\na = { forwrad = true }')", "*nodes.a.forwrad*Did you mean forward[?]*"),
            ("@pytest.mark.lab('[nodes]\\na = {')", "*not valid TOML*"),
        ],
    )
    def test_invalid_lab_marker_fails_with_one_sentence_without_traceback(self, pytester, run, mark, sentence):
        pytester.makepyfile(f"import pytest\n{mark}\ndef test_x(lab): pass\n")
        result = run()
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines([sentence])
        assert "Traceback" not in result.stdout.str()
        assert "tunlab/pytest_plugin" not in result.stdout.str()

    def test_error_of_lab_marker_with_invalid_toml_text_lists_every_mistake(self, pytester, run):
        text = "[nodes]\\na = { forwrad = true }\\nb = { knid = 'host' }\\n"
        pytester.makepyfile(f'import pytest\n@pytest.mark.lab("{text}")\ndef test_x(lab): pass\n')
        result = run()
        result.stdout.fnmatch_lines_random(["*nodes.a.forwrad*", "*nodes.b.knid*"])


class TestLab:
    def test_program_in_lab_resolves_node_names(self, pytester, run):
        pytester.makepyfile(
            f'''
            import pytest

            @pytest.mark.lab("""{TWO.replace(chr(10), chr(10) + " " * 12)}""")
            def test_x(lab):
                assert lab["a"].run(["ping", "-c", "1", "-W", "5", "b"]).returncode == 0
            '''
        )
        run().assert_outcomes(passed=1)

    def test_lab_programs_and_namespaces_end_with_the_test(self, pytester, run):
        pytester.makefile(".toml", two=TWO)
        pytester.makepyfile(
            """
            import os, pytest
            from pathlib import Path

            @pytest.mark.lab("two.toml")
            def test_programs(lab):
                lab["a"].popen(["sleep", "1000"])
                lab["b"].popen(["sleep", "1000"])

            @pytest.mark.lab("two.toml")
            def test_failing(lab):
                lab["a"].popen(["sleep", "1000"])
                assert False

            def test_nothing_is_left():
                children = " ".join(file.read_text() for file in Path("/proc/self/task").glob("*/children")).split()
                names = [Path("/proc", child, "comm").read_text().strip() for child in children]
                assert "sleep" not in names
                held = [os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if os.path.lexists(entry)]
                assert not [file for file in held if file.startswith("net:")]
            """
        )
        run().assert_outcomes(passed=2, failed=1)

    def test_labs_in_parallel_workers_do_not_collide(self, pytester, run):
        pytester.makepyfile(
            """
            import pytest

            @pytest.mark.lab("bridge")
            @pytest.mark.parametrize("number", range(10))
            def test_x(lab, number):
                assert all(lab.ping_all().values())
            """
        )
        run("-n", "2").assert_outcomes(passed=10)

    def test_lab_fixture_without_capabilities_fails_or_skips_the_test(self, pytester, run, without_capabilities):
        pytester.makepyfile("import pytest\n@pytest.mark.lab('two-hosts')\ndef test_x(lab): pass\n")
        result = run(prefix=without_capabilities)
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*CAP_SYS_ADMIN*--tunlab-skip-unprivileged skips such tests*"])
        assert "Traceback" not in result.stdout.str()
        run("--tunlab-skip-unprivileged", prefix=without_capabilities).assert_outcomes(skipped=1)

    def test_lab_fixture_without_root_runs_in_a_user_namespace(self, pytester, run, as_nobody):
        pytester.makepyfile(
            """
            import os, pytest

            @pytest.mark.lab("bridge")
            def test_x(lab):
                assert os.getuid() == 65534
                assert all(lab.ping_all().values())
                name = list(lab.nodes)[1]
                assert lab[list(lab.nodes)[0]].run(["ping", "-c", "1", name]).returncode == 0
            """
        )
        run(prefix=as_nobody(work=pytester.path)).assert_outcomes(passed=1)

    def test_fixture_of_project_named_lab_is_used_and_needs_no_privileges(self, pytester, run, as_nobody):
        pytester.makeconftest("import pytest\n@pytest.fixture\ndef lab(): return 'mine'\n")
        pytester.makepyfile(
            "import os\ndef test_x(lab):\n    print(os.readlink('/proc/self/ns/user'))\n    assert lab == 'mine'\n"
        )
        result = run("-s", prefix=as_nobody(work=pytester.path))
        result.assert_outcomes(passed=1)
        assert os.readlink("/proc/self/ns/user") in result.stdout.str()  # noqa: PTH115

    def test_lab_fixtures_and_marker_are_listed_by_pytest(self, run):
        shown = run("--fixtures").stdout.str()
        assert "lab --" in shown
        assert "make_lab --" in shown
        run("--markers").stdout.fnmatch_lines(["@pytest.mark.lab(*"])

    def test_node_with_a_private_tmp_exchanges_files_with_the_test_in_tmp_path(self, pytester, run):
        pytester.makepyfile(
            """
            def test_exchange(make_lab, tmp_path):
                node = make_lab(nodes={"a": {"private": ["/tmp"]}})["a"]
                (tmp_path / "question").write_text("from the test")
                script = f"cat {tmp_path}/question; echo from the node >{tmp_path}/answer; touch /tmp/private"
                shown = node.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
                assert shown == "from the test"
                assert (tmp_path / "answer").read_text() == "from the node\\n"
            """
        )
        run().assert_outcomes(passed=1)
