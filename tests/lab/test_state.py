"""The record of a persistent lab on disk, and the locks that keep two processes from changing a lab at once."""

import fcntl
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from tests.lab.labs import DEFAULT
from tunlab.errors import LabError
from tunlab.lab import PersistentLab
from tunlab.lab.build.preflight import resolve_files
from tunlab.lab.persistent import state
from tunlab.lab.run_directory import run_directory
from tunlab.topology import LabPlan, plan


class TestRecord:
    def test_up_writes_every_field_of_the_lab_record(self, persistent_lab, run_directory):
        record = msgspec.json.decode((run_directory / "lab" / "lab.json").read_bytes())
        with persistent_lab.netns() as netns:
            assert record.pop("namespaces") == {"stack": list(netns.identity)}
        assert record.pop("created").endswith("+00:00")
        assert record.pop("owner") == os.getpid()
        start_time = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
        assert record.pop("owner_started") == int(start_time)
        assert msgspec.convert(record.pop("plan"), LabPlan) == resolve_files(plan(DEFAULT), Path())
        assert record == {"name": "lab", "phase": "up", "containers": None}
        assert sorted(path.name for path in (run_directory / "lab").iterdir()) == ["lab.json", "net"]
        assert stat.S_IMODE((run_directory / "lab").stat().st_mode) == 0o755

    def test_lab_with_a_damaged_record_file_has_condition_broken(self, persistent_lab, run_directory):
        file = run_directory / "lab" / "lab.json"
        intact = file.read_bytes()
        for damaged in (b"", b"{", b"\xff", b'{"name": 1}'):
            file.write_bytes(damaged)
            assert persistent_lab.status().condition == "broken"
        file.write_bytes(intact)
        assert persistent_lab.status().condition == "up"

    def test_lab_whose_owner_pid_was_reused_has_condition_broken(self):
        with state.create_directory("lab") as directory:
            pass
        record = state.LabState.initial(DEFAULT)
        state.write(directory, record)
        assert PersistentLab("lab").status().condition == "coming up"
        # Process 1 exists, but `record` has the start time of another process, so the owner has ended.
        state.write(directory, msgspec.structs.replace(record, owner=1))
        assert PersistentLab("lab").status().condition == "broken"

    def test_run_directory_defaults_to_run_tunlab(self, monkeypatch):
        monkeypatch.delenv("TUNLAB_RUN")
        assert run_directory() == Path("/run/tunlab")


class TestLocks:
    def test_up_down_and_open_of_a_lab_being_created_raise_lab_error(self):
        with state.create_directory("lab") as directory:
            assert PersistentLab("lab").status().condition == "coming up"
            state.write(directory, state.LabState.initial(DEFAULT))
            with pytest.raises(LabError) as caught:
                PersistentLab.up(DEFAULT)
            assert str(caught.value) == (
                f"lab 'lab' is coming up (process {os.getpid()}). Wait for it, or choose another name."
            )
            with pytest.raises(LabError, match="another process is creating or removing lab 'lab'"):
                PersistentLab("lab").down()
            with pytest.raises(LabError, match="is coming up"):
                PersistentLab.open("lab")

    def test_status_and_down_wait_while_a_lab_directory_is_being_created(self, run_directory):
        """The test holds the lock of the run directory, as `create_directory` does between mkdir(2) and flock(2)."""
        (run_directory / "lab").mkdir(parents=True)
        run_lock = os.open(run_directory, os.O_RDONLY)
        fcntl.flock(run_lock, fcntl.LOCK_EX)
        with ThreadPoolExecutor(2) as pool:
            status, down = pool.submit(PersistentLab("lab").status), pool.submit(PersistentLab("lab").down)
            lab_lock = os.open(run_directory / "lab", os.O_RDONLY)
            fcntl.flock(lab_lock, fcntl.LOCK_EX)
            assert not status.done()
            assert not down.done()
            os.close(run_lock)
            assert status.result().condition == "coming up"
            with pytest.raises(LabError, match="another process is creating or removing"):
                down.result()
        os.close(lab_lock)

    def test_up_of_one_lab_in_six_threads_succeeds_once(self):
        def up(_):
            try:
                return PersistentLab.up(DEFAULT)
            except LabError as error:
                return error

        with ThreadPoolExecutor(6) as pool:
            results = list(pool.map(up, range(6)))
        assert sum(isinstance(each, PersistentLab) for each in results) == 1
        assert PersistentLab.open().name == "lab"
