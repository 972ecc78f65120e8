"""Tests of WorkerPool without a pytest run: frozen engines, abandoned containers and the number of workers."""

import socket
import subprocess

import pytest

from tunlab.engines.connection.engine import Engine
from tunlab.engines.containers import cleanup, container_labels
from tunlab.engines.workers import worker_pool
from tunlab.engines.workers.worker_pool import WorkerPool
from tunlab.engines.workers.worker_setup import WorkerSetup
from tunlab.engines.workers.worker_spec import WorkerSpec
from tunlab.errors import EngineError

pytestmark = [pytest.mark.docker, pytest.mark.slow]


class TestFrozenEngine:
    def test_frozen_engine_is_lost_and_its_streams_are_closed(self, tmp_path, forwarder, specs, image, monkeypatch):
        monkeypatch.setattr(worker_pool, "_PROBE_INTERVAL", 0.1)
        monkeypatch.setattr(worker_pool, "_PROBE_TIMEOUT", 1.0)
        pool = WorkerPool([WorkerSpec(forwarder.spec, 1)])
        try:
            pool.start(WorkerSetup(tmp_path, tmp_path).container_settings(), lambda _: image)
            worker = pool.worker(0)
            with socket.socket(fileno=worker.open_stream()) as stream:
                forwarder.freeze()
                stream.settimeout(60)
                assert stream.recv(1) == b""
            assert list(pool.lost) == [forwarder.spec]
            with pytest.raises(EngineError, match="no engine is left"):
                pool.replace(0)
        finally:
            forwarder.close()
            pool.close()

    def test_remove_workers_records_containers_of_frozen_engine(self, tmp_path, forwarder, image, monkeypatch):
        pool = WorkerPool([WorkerSpec(forwarder.spec, 2)])
        try:
            pool.start(WorkerSetup(tmp_path, tmp_path).container_settings(), lambda _: image)
            names = {pool.worker(slot).container.name for slot in (0, 1)}
            forwarder.freeze()
            monkeypatch.setattr(worker_pool, "_PROBE_TIMEOUT", 1.0)
            pool.remove_workers()
            assert list(pool.unremoved) == [forwarder.spec]
            assert set(pool.unremoved[forwarder.spec]) == names
            assert "timeout=1.0" in pool.lost[forwarder.spec]
        finally:
            forwarder.close()
            pool.close()

    def test_remove_run_containers_of_frozen_engine_times_out(self, forwarder, monkeypatch):
        monkeypatch.setattr(cleanup, "_LIST_TIMEOUT", 1.0)
        with Engine.connect(forwarder.spec) as engine:
            forwarder.freeze()
            with pytest.raises(EngineError) as raised:
                cleanup.remove_run_containers(engine, container_labels.new_run_id())
        assert "containers of the run could not be removed" in str(raised.value)
        assert "timeout=1.0" in str(raised.value)


class TestAbandonedContainer:
    def test_new_pool_removes_containers_of_an_exited_process(self, specs, bare_image):
        with subprocess.Popen(["true"]) as exited:
            owner = {container_labels.PID: str(exited.pid), container_labels.STARTED: "1"}
        with Engine.connect(specs[0]) as engine:
            labels = {**container_labels.labels(container_labels.new_run_id(), "worker"), **owner}
            container = engine.api.create_container(bare_image, ["true"], labels=labels)["Id"]
            try:
                WorkerPool([WorkerSpec(specs[0], 1)]).close()
                left = engine.api.containers(all=True, filters={"id": container})
            finally:
                cleanup.remove_container(engine, container)
        assert left == []


class TestSlots:
    def test_worker_spec_without_number_has_one_worker_per_processor(self, specs):
        pool = WorkerPool([WorkerSpec(specs[0])])
        try:
            assert len(pool.slots) >= 1
            assert {slot.spec for slot in pool.slots} == {specs[0]}
            assert [slot.number for slot in pool.slots] == list(range(len(pool.slots)))
        finally:
            pool.close()
