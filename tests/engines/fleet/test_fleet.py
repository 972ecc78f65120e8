"""A fleet by itself: what it does about an engine that is silent."""

import socket

import pytest

from tunlab.engines import fleet as fleets
from tunlab.engines.fleet import Fleet
from tunlab.engines.places import Place
from tunlab.engines.provision import Provision
from tunlab.errors import EngineError

pytestmark = [pytest.mark.docker, pytest.mark.slow]


class TestAnEngineThatIsSilent:
    def test_is_lost_after_some_unanswered_questions_and_its_streams_are_cut(
        self, tmp_path, forwarder, specs, image, monkeypatch
    ):
        monkeypatch.setattr(fleets, "_WATCH", 0.1)
        monkeypatch.setattr(fleets, "_ANSWERING", 1.0)
        fleet = Fleet([Place(forwarder.spec, 1)])
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


class TestTheProcessors:
    def test_are_the_number_of_workers_where_none_is_said(self, specs):
        fleet = Fleet([Place(specs[0])])
        try:
            assert len(fleet.seats) >= 1
            assert {seat.spec for seat in fleet.seats} == {specs[0]}
            assert [seat.number for seat in fleet.seats] == list(range(len(fleet.seats)))
        finally:
            fleet.close()
