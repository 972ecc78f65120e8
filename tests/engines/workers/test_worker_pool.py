"""A fleet by itself: what it does about an engine that is silent."""

import socket
import subprocess

import pytest

from tunlab.engines.connection.engine import Engine
from tunlab.engines.containers import cleanup, container_labels
from tunlab.engines.workers import worker_pool as fleets
from tunlab.engines.workers.provision import Provision
from tunlab.engines.workers.worker_pool import WorkerPool
from tunlab.engines.workers.worker_spec import WorkerSpec
from tunlab.errors import EngineError

pytestmark = [pytest.mark.docker, pytest.mark.slow]


class TestAnEngineThatIsSilent:
    def test_is_lost_after_some_unanswered_questions_and_its_streams_are_cut(
        self, tmp_path, forwarder, specs, image, monkeypatch
    ):
        monkeypatch.setattr(fleets, "_WATCH", 0.1)
        monkeypatch.setattr(fleets, "_ANSWERING", 1.0)
        fleet = WorkerPool([WorkerSpec(forwarder.spec, 1)])
        try:
            fleet.start(Provision(tmp_path, tmp_path).settings(), lambda _: image)
            worker = fleet.at(0)
            with socket.socket(fileno=worker.stream()) as stream:
                forwarder.freeze()
                stream.settimeout(60)
                assert stream.recv(1) == b""
            assert list(fleet.lost) == [forwarder.spec]
            with pytest.raises(EngineError, match="no engine is left"):
                fleet.replace(0)
        finally:
            forwarder.cut()
            fleet.close()

    def test_is_asked_before_anything_is_removed_and_what_stays_is_told(self, tmp_path, forwarder, image, monkeypatch):
        fleet = WorkerPool([WorkerSpec(forwarder.spec, 2)])
        try:
            fleet.start(Provision(tmp_path, tmp_path).settings(), lambda _: image)
            names = {fleet.at(seat).container.name for seat in (0, 1)}
            forwarder.freeze()
            monkeypatch.setattr(fleets, "_ANSWERING", 1.0)
            fleet.end_workers()
            assert list(fleet.left) == [forwarder.spec]
            assert set(fleet.left[forwarder.spec]) == names
            assert "timeout=1.0" in fleet.lost[forwarder.spec]
        finally:
            forwarder.cut()
            fleet.close()

    def test_is_told_soon_when_a_run_is_to_be_removed(self, forwarder, monkeypatch):
        monkeypatch.setattr(cleanup, "_ANSWERING", 1.0)
        with Engine.connect(forwarder.spec) as engine:
            forwarder.freeze()
            with pytest.raises(EngineError) as refused:
                cleanup.remove_run_containers(engine, container_labels.new_run_id())
        assert "containers of the run could not be removed" in str(refused.value)
        assert "timeout=1.0" in str(refused.value)


class TestAContainerOfARunThatWasKilled:
    def test_is_removed_by_the_next_run_there(self, specs, bare_image):
        """One that was made and not begun has nothing that ends it. Its labels name a process that has gone."""
        with subprocess.Popen(["true"]) as gone:
            owner = {container_labels.PID: str(gone.pid), container_labels.STARTED: "1"}
        with Engine.connect(specs[0]) as engine:
            labels = {**container_labels.labels(container_labels.new_run_id(), "worker"), **owner}
            made = engine.api.create_container(bare_image, ["true"], labels=labels)["Id"]
            try:
                WorkerPool([WorkerSpec(specs[0], 1)]).close()
                left = engine.api.containers(all=True, filters={"id": made})
            finally:
                cleanup.remove(engine, made)
        assert left == []


class TestTheProcessors:
    def test_are_the_number_of_workers_where_none_is_said(self, specs):
        fleet = WorkerPool([WorkerSpec(specs[0])])
        try:
            assert len(fleet.seats) >= 1
            assert {seat.spec for seat in fleet.seats} == {specs[0]}
            assert [seat.number for seat in fleet.seats] == list(range(len(fleet.seats)))
        finally:
            fleet.close()
