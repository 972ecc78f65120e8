"""Tests that the benchmarks run, compare equal work, and print their rows, at whatever speed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import decode, decoders, devices, namespaces, peer, reader, startup, suite
from benchmarks.__main__ import main, report, table
from benchmarks.measure import BenchmarkError, Row, Skipped, at_least, at_most, measure_in_turns, process, ratio, repeat

READERS = {"tunlab": decoders.tunlab_reader, **decode.PEERS}
# A missing scapy is a failure, because the extra "test" installs it. Only the extra "bench" installs the others.
INSTALLED = [name for name in READERS if name in ("tunlab", "scapy") or find_spec(name)]


def rows(outcomes):
    return [outcome for outcome in outcomes if isinstance(outcome, Row)]


class TestMeasure:
    def test_measure_in_turns_rotates_order_and_ignores_warm_up(self):
        order = []

        def turn(name):
            return lambda: order.append(name) or float(len(order))

        times = measure_in_turns({"a": turn("a"), "b": turn("b")}, 3)
        assert order == ["a", "b", "b", "a", "a", "b", "b", "a"]
        assert times == {"a": [4.0, 5.0, 8.0], "b": [3.0, 6.0, 7.0]}

    def test_measure_in_turns_without_rotation_keeps_order(self):
        order = []
        measure_in_turns({name: lambda name=name: order.append(name) or 0.0 for name in "ab"}, 1, rotate=False)
        assert order == ["a", "b", "a", "b"]

    def test_measure_in_turns_without_warm_up_counts_every_round(self):
        assert measure_in_turns({"a": lambda: 1.0}, 2, warm_up=False) == {"a": [1.0, 1.0]}

    def test_ratio_is_median_of_the_ratios_of_all_rounds(self):
        assert ratio({"slow": [4.0, 60.0, 10.0], "fast": [2.0, 10.0, 5.0]}, "slow", "fast") == 2.0

    def test_repeat_measures_seconds_per_call(self):
        clock = iter((10.0, 16.0))
        done = []
        assert repeat(lambda: done.append(1), 3, lambda: next(clock))() == 2.0
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
    def test_benchmark_goal_is_met_at_its_bound(self, goal, value, met):
        assert Row("x", "y", value, "×", goal=goal).met is met

    def test_error_of_failed_benchmark_process_has_its_output(self):
        with pytest.raises(BenchmarkError, match="exited with 3: no such luck"):
            process(["sh", "-c", "echo no such luck >&2; exit 3"])()


class TestDecode:
    @pytest.mark.parametrize("name", INSTALLED)
    def test_each_library_decodes_same_values_as_tunlab(self, name):
        mine, theirs = decoders.tunlab_reader(), READERS[name]()
        decode.check_equal({"tunlab": mine, name: theirs})
        for data in decode.datagrams().values():
            assert theirs[1](theirs[0](data)) == mine[1](mine[0](data))

    def test_check_equal_with_library_that_omits_values_raises(self):
        read, common = decoders.tunlab_reader()
        with pytest.raises(BenchmarkError, match=r"lazy reads .* Change the readers"):
            decode.check_equal({"tunlab": (read, common), "lazy": (read, lambda values: common(values)[:-1])})

    def test_corpus_packets_are_decoded_equally_by_all_libraries(self):
        if not os.environ.get("TUNLAB_CORPUS"):
            pytest.skip("the corpus is not part of the project. Set TUNLAB_CORPUS to its folder")
        decoders_by_name = {name: READERS[name]() for name in INSTALLED}
        packets, captured = decode.corpus_packets(decoders_by_name)
        assert len(packets) == len(captured) == decode.CORPUS_SIZE
        for read, common in decoders_by_name.values():
            assert packets[0][12:16] in common(read(packets[0]))

    def test_with_new_addresses_changes_only_the_addresses(self):
        packets = list(decode.datagrams().values())
        changed = decode.with_new_addresses(packets)
        assert all(new[:12] + old[12:20] + new[20:] == old for old, new in zip(packets, changed, strict=True))
        assert all(new != old for old, new in zip(packets, changed, strict=True))

    def test_benchmark_datagrams_have_the_sizes_in_benchmarks_readme(self):
        sizes = {kind: len(data) for kind, data in decode.datagrams().items()}
        assert sizes == {"ICMP echo": 84, "TCP SYN": 60, "TCP 1460": 1500, "UDP 200": 228, "UDP options": 76}

    @pytest.mark.slow
    def test_decode_benchmark_has_row_for_every_library(self):
        outcomes = decode.run(rounds=1, repeats=1)
        measures = " ".join(outcome.measure for outcome in outcomes)
        assert all(peer in measures for peer in decode.PEERS)
        assert all(row.value > 0 for row in rows(outcomes))
        goals = {row.measure: row.goal for row in rows(outcomes)}
        assert goals["rate against scapy, parsing only"] == decode.SCAPY
        assert goals["time of a summary with its verdicts / of parsing"] == decode.SUMMARY


def test_reader_benchmark_has_two_rows(need):
    need("gcc")
    kept, counted = rows(reader.run(rounds=1, packets=50))
    assert (kept.goal, counted.goal) == (reader.KEPT, reader.COUNTED)
    assert kept.value > 0
    assert counted.value > 0


def test_error_of_reader_benchmark_without_compiler_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(BenchmarkError, match="install gcc"), reader.c_drain():
        pass


def test_namespaces_benchmark_has_four_rows(need):
    need("ip")
    found = rows(namespaces.run(rounds=1, repeats=1))
    assert [row.goal for row in found] == [namespaces.BY_HAND, namespaces.NODE, namespaces.BY_IP, None]
    assert all(row.value > 0 for row in found)


def test_peer_benchmark_has_a_row_for_each_kind_of_device():
    found = rows(peer.run(rounds=1, repeats=2))
    assert [row.measure.split(", ")[1] for row in found] == ["kernel", *peer.DEVICES]
    assert all(row.value > 0 for row in found)


def test_devices_benchmark_has_rows_for_programs_and_the_kernel():
    found = rows(devices.run(rounds=1, repeats=1))
    assert [row.goal for row in found] == [devices.AGAINST_TUN, None]
    assert all(row.value > 0 for row in found)


@pytest.mark.slow
def test_benchmarks_without_capabilities_print_errors_without_traceback(without_capabilities):
    command = [*without_capabilities, sys.executable, "-m", "benchmarks", "namespaces", "reader", "startup"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == BenchmarkError.exit_code
    assert done.stderr.count("run as root") == 2
    assert done.stderr.count("you are root, but CAP_SYS_ADMIN is missing (EPERM). Run in a container") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_startup_benchmark_has_five_rows():
    found = rows(startup.run(rounds=1))
    assert [row.goal for row in found] == [startup.IMPORT, None, startup.HELP, None, None]
    assert {row.unit for row in found} == {"ms"}


@pytest.mark.slow
def test_suite_benchmark_has_two_rows():
    whole, explained = rows(suite.run(rounds=1, tests=4))
    assert whole.measure.startswith("4 tests")
    assert (whole.goal, explained.goal) == (suite.WALL, suite.EXPLAINED)


class TestCommand:
    OUTCOMES = (
        Row("decode", "rate", 2.0, "×", "a 1 µs, b 2 µs", at_least(2.5)),
        Row("startup", "import", 12.0, "ms", goal=at_most(40)),
        Skipped("decode", "rate against dpkt", "not installed"),
    )

    def test_benchmark_table_shows_met_and_missed_goals(self):
        lines = table(self.OUTCOMES).splitlines()
        assert [line.split() for line in lines[1:3]] == [
            ["decode", "rate", "2.00", "×", "≥", "2.50", "×", "NO", "a", "1", "µs,", "b", "2", "µs"],
            ["startup", "import", "12.0", "ms", "≤", "40.0", "ms", "yes"],
        ]
        assert lines[3].endswith("skipped  not installed")

    def test_benchmark_report_can_be_written_as_json(self):
        found = json.loads(json.dumps(report(self.OUTCOMES)))["rows"]
        assert [row["met"] for row in found] == [False, True]
        assert found[0]["goal"] == {"bound": 2.5, "at_least": True}

    @pytest.fixture
    def one_row(self, monkeypatch):
        monkeypatch.setattr(decode, "run", lambda: list(self.OUTCOMES[:1]))

    @pytest.mark.usefixtures("one_row")
    @pytest.mark.parametrize(("options", "status"), [([], 0), (["--check"], 1)])
    def test_main_with_missed_goal_exits_1_only_with_check_option(self, options, status, capsys):
        assert main(["decode", *options]) == status
        assert "NO" in capsys.readouterr().out

    @pytest.mark.usefixtures("one_row")
    def test_main_with_json_option_writes_file(self, tmp_path):
        assert main(["decode", "--json", str(tmp_path / "rows.json")]) == 0
        assert json.loads((tmp_path / "rows.json").read_text())["rows"][0]["value"] == 2.0

    @pytest.mark.usefixtures("one_row")
    def test_main_with_unwritable_json_file_exits_74(self, tmp_path, capsys):
        assert main(["decode", "--json", str(tmp_path)]) == 74
        assert "give a writable file" in capsys.readouterr().err

    def test_main_with_unknown_benchmark_exits_2(self, capsys):
        with pytest.raises(SystemExit, match="2"):
            main(["decoed"])
        assert "no benchmark 'decoed'. Choose from decode" in capsys.readouterr().err

    def test_failed_benchmark_does_not_stop_others(self, monkeypatch, capsys):
        def broken():
            raise BenchmarkError("install gcc")

        monkeypatch.setattr(reader, "run", broken)
        monkeypatch.setattr(decode, "run", lambda: list(self.OUTCOMES[1:2]))
        assert main(["reader", "decode"]) == BenchmarkError.exit_code
        printed = capsys.readouterr()
        assert "reader: install gcc" in printed.err
        assert "import" in printed.out
