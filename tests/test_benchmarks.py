"""The benchmarks run, compare like with like, and say what they found; how fast anything is, no test asks."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import decode, decoders, namespaces, reader, startup, suite
from benchmarks.__main__ import main, report, table
from benchmarks.measure import BenchmarkError, Row, Skipped, at_least, at_most, each_of, interleaved, process, ratio

READERS = {"tunlab": decoders.tunlab_reader, **decode.PEERS}
# scapy is of the test extra, and its absence a failure; the others are of the bench extra only.
FOUND = [name for name in READERS if name in ("tunlab", "scapy") or find_spec(name)]


def rows(outcomes):
    return [outcome for outcome in outcomes if isinstance(outcome, Row)]


class TestMeasure:
    def test_everybody_has_a_turn_in_every_round_and_the_first_round_does_not_count(self):
        order = []

        def turn(name):
            return lambda: order.append(name) or float(len(order))

        times = interleaved({"a": turn("a"), "b": turn("b")}, 3)
        assert order == ["a", "b", "b", "a", "a", "b", "b", "a"]
        assert times == {"a": [4.0, 5.0, 8.0], "b": [3.0, 6.0, 7.0]}

    def test_a_fixed_order_stays(self):
        order = []
        interleaved({name: lambda name=name: order.append(name) or 0.0 for name in "ab"}, 1, rotate=False)
        assert order == ["a", "b", "a", "b"]

    def test_without_a_warm_up_every_round_counts(self):
        assert interleaved({"a": lambda: 1.0}, 2, warm_up=False) == {"a": [1.0, 1.0]}

    def test_a_ratio_is_the_median_of_the_rounds(self):
        assert ratio({"slow": [4.0, 60.0, 10.0], "fast": [2.0, 10.0, 5.0]}, "slow", "fast") == 2.0

    def test_a_turn_is_the_time_of_one(self):
        clock = iter((10.0, 16.0))
        done = []
        assert each_of(lambda: done.append(1), 3, lambda: next(clock))() == 2.0
        assert len(done) == 3

    @pytest.mark.parametrize(
        ("goal", "value", "met"),
        [
            (at_least(2.5), 2.5, True),
            (at_least(2.5), 2.49, False),
            (at_most(40), 40.0, True),
            (at_most(40), 40.1, False),
            (None, 1.0, None),
        ],
    )
    def test_a_goal_counts_its_bound_in(self, goal, value, met):
        assert Row("x", "y", value, "×", goal=goal).met is met

    def test_a_program_that_fails_breaks_the_benchmark_with_what_it_said(self):
        with pytest.raises(BenchmarkError, match="ended with 3: no such luck"):
            process(["sh", "-c", "echo no such luck >&2; exit 3"])()


class TestDecode:
    @pytest.mark.parametrize("name", FOUND)
    def test_every_library_reads_the_same_values_as_tunlab(self, name):
        mine, theirs = decoders.tunlab_reader(), READERS[name]()
        decode.check_equal({"tunlab": mine, name: theirs})
        for octets in decode.datagrams().values():
            assert theirs[1](theirs[0](octets)) == mine[1](mine[0](octets))

    def test_who_reads_less_is_found_out(self):
        read, common = decoders.tunlab_reader()
        with pytest.raises(BenchmarkError, match=r"lazy reads .* unfair"):
            decode.check_equal({"tunlab": (read, common), "lazy": (read, lambda values: common(values)[:-1])})

    def test_the_datagrams_have_the_sizes_that_the_readme_tells(self):
        sizes = {kind: len(octets) for kind, octets in decode.datagrams().items()}
        assert sizes == {"ICMP echo": 84, "TCP SYN": 60, "TCP 1460": 1500, "UDP 200": 228, "UDP options": 76}

    @pytest.mark.slow
    def test_it_answers_a_row_against_every_peer(self):
        outcomes = decode.run(rounds=1, repeats=1)
        told = " ".join(outcome.what for outcome in outcomes)
        assert all(peer in told for peer in decode.PEERS)
        assert all(row.value > 0 for row in rows(outcomes))
        assert [row.goal for row in rows(outcomes) if row.what == "rate against scapy"] == [decode.SCAPY]


def test_the_reader_reads_all_that_was_sent(need):
    need("gcc")
    kept, counted = rows(reader.run(rounds=1, datagrams=50))
    assert (kept.goal, counted.goal) == (reader.KEPT, reader.COUNTED)
    assert kept.value > 0
    assert counted.value > 0


def test_without_a_compiler_the_reader_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(BenchmarkError, match="install gcc"), reader.c_drain():
        pass


def test_namespaces_by_hand_by_ip_and_by_tunlab(need):
    need("ip")
    answered = rows(namespaces.run(rounds=1, repeats=1))
    assert [row.goal for row in answered] == [namespaces.BY_HAND, namespaces.BY_IP, None]
    assert all(row.value > 0 for row in answered)


@pytest.mark.slow
def test_without_root_the_benchmarks_say_so_and_print_no_traceback(without_capabilities):
    command = [*without_capabilities, sys.executable, "-m", "benchmarks", "namespaces", "reader", "startup"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == BenchmarkError.exit_code
    assert done.stderr.count("run as root") == 2
    assert done.stderr.count("CAP_SYS_ADMIN is missing (EPERM); you are root, but without it") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_startup_tells_a_row_for_each_wait():
    answered = rows(startup.run(rounds=1))
    assert [row.goal for row in answered] == [startup.IMPORT, None, startup.HELP, None, None]
    assert {row.unit for row in answered} == {"ms"}


@pytest.mark.slow
def test_the_suite_passes_and_is_timed():
    whole, explained = rows(suite.run(rounds=1, tests=4))
    assert whole.what.startswith("4 tests")
    assert (whole.goal, explained.goal) == (suite.WALL, suite.EXPLAINED)


class TestCommand:
    OUTCOMES = (
        Row("decode", "rate", 2.0, "×", "a 1 µs, b 2 µs", at_least(2.5)),
        Row("startup", "import", 12.0, "ms", goal=at_most(40)),
        Skipped("decode", "rate against dpkt", "it is not installed"),
    )

    def test_the_table_says_whether_each_goal_is_met(self):
        lines = table(self.OUTCOMES).splitlines()
        assert [line.split() for line in lines[1:3]] == [
            ["decode", "rate", "2.00", "×", "≥", "2.50", "×", "NO", "a", "1", "µs,", "b", "2", "µs"],
            ["startup", "import", "12.0", "ms", "≤", "40.0", "ms", "yes"],
        ]
        assert lines[3].endswith("skipped  it is not installed")

    def test_the_report_is_json(self):
        answered = json.loads(json.dumps(report(self.OUTCOMES)))["rows"]
        assert [row["met"] for row in answered] == [False, True]
        assert answered[0]["goal"] == {"bound": 2.5, "at_least": True}

    @pytest.fixture
    def one_row(self, monkeypatch):
        monkeypatch.setattr(decode, "run", lambda: list(self.OUTCOMES[:1]))

    @pytest.mark.usefixtures("one_row")
    @pytest.mark.parametrize(("options", "status"), [([], 0), (["--check"], 1)])
    def test_a_missed_goal_is_an_error_only_with_check(self, options, status, capsys):
        assert main(["decode", *options]) == status
        assert "NO" in capsys.readouterr().out

    @pytest.mark.usefixtures("one_row")
    def test_json_goes_to_a_file(self, tmp_path):
        assert main(["decode", "--json", str(tmp_path / "rows.json")]) == 0
        assert json.loads((tmp_path / "rows.json").read_text())["rows"][0]["value"] == 2.0

    @pytest.mark.usefixtures("one_row")
    def test_a_file_that_cannot_be_written_is_told_in_a_sentence(self, tmp_path, capsys):
        assert main(["decode", "--json", str(tmp_path)]) == 74
        assert "give a file that can be written" in capsys.readouterr().err

    def test_an_unknown_name_is_told_in_a_sentence(self, capsys):
        with pytest.raises(SystemExit, match="2"):
            main(["decoed"])
        assert "there is no benchmark 'decoed'; there are decode" in capsys.readouterr().err

    def test_a_benchmark_that_breaks_is_an_error_and_the_others_are_told(self, monkeypatch, capsys):
        def broken():
            raise BenchmarkError("install gcc")

        monkeypatch.setattr(reader, "run", broken)
        monkeypatch.setattr(decode, "run", lambda: list(self.OUTCOMES[1:2]))
        assert main(["reader", "decode"]) == BenchmarkError.exit_code
        printed = capsys.readouterr()
        assert "reader: install gcc" in printed.err
        assert "import" in printed.out
