"""The type of options that take a time."""

from __future__ import annotations

import math
from typing import Any

import click


class Seconds(click.FloatRange):
    """A finite number of seconds, from a minimum on."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number. Exits with a usage error if it is too small, infinite or NaN."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite time. Give a number of seconds, for example 2.5.", param, ctx)
        return number
