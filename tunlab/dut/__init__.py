"""Devices under test: programs, callables and objects that speak IP, and the kernel, with the same tests for all."""

from tunlab.dut.control import Control, DutConnection, DutListener
from tunlab.dut.device import Dut
from tunlab.dut.kinds import open_dut
from tunlab.dut.settings import DutSettings, Services
from tunlab.dut.target import Target

__all__ = ["Control", "Dut", "DutConnection", "DutListener", "DutSettings", "Services", "Target", "open_dut"]
