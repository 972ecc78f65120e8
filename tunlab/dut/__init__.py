"""Devices under test: programs, callables and objects that speak IP, and the kernel, with the same tests for all."""

from tunlab.dut.device import Dut
from tunlab.dut.kinds import open_dut
from tunlab.dut.settings import DutSettings, Services
from tunlab.dut.target import Target

__all__ = ["Dut", "DutSettings", "Services", "Target", "open_dut"]
