"""Lab, the one name for both kinds: anonymous ones from a file or from code, and those that stay."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from tunlab.errors import LabError
from tunlab.lab.live_lab import LiveLab
from tunlab.lab.node import LAB_VARIABLE
from tunlab.lab.persistent.lab import PersistentLab
from tunlab.lab.persistent.status import Condition, Removed, Status
from tunlab.topology import DEFAULT_NAME, LabSpec, check_lab_name, parse_lab, plan
from tunlab.topology.plan import LabPlan

if TYPE_CHECKING:
    from tunlab.topology import Topology

__all__ = ["LAB_VARIABLE", "Condition", "Lab", "Removed", "Status"]


class Lab(PersistentLab):
    """A lab.

    One for a test has no name anywhere, and is gone with the block or the process:

        with Lab.from_file("router.toml") as lab:
            lab["client"].run(["ping", "-c", "1", "server"], check=True)

    One for the hands stays when the process ends, until `down`: `Lab.up(spec)`, `Lab.open(name)`.
    """

    def __init__(self, name: str = DEFAULT_NAME) -> None:
        """A lab that stays, in any state that it may be in, or one that is to be built by `node` and `link`."""
        super().__init__(check_lab_name(name))
        self._spec: LabSpec | None = None
        self._base = Path()
        self._topology: Topology | None = None
        self._live: LiveLab | None = None

    def __repr__(self) -> str:
        return f"<Lab {self.name}>"

    # ---- what it is to be ------------------------------------------------------------------------------------------

    @classmethod
    def from_file(cls, file: str | os.PathLike[str], *, name: str | None = None) -> Self:
        """The lab that a lab file describes. Raises TopologyError with all that is wrong, and for no such file."""
        from tunlab.lab.lab_files import read_lab_file

        path = Path(file)
        return cls.from_text(read_lab_file(path), file=str(file), base=path.parent, name=name)

    @classmethod
    def from_text(
        cls, text: str, *, file: str = "", base: str | os.PathLike[str] = "", name: str | None = None
    ) -> Self:
        """The lab that TOML text describes.

        file   its name, for the errors
        base   where the relative paths of `files` begin; the working directory by default

        Raises TopologyError with all that is wrong.
        """
        return cls.of(parse_lab(text, file).changed(name=name), base=base)

    @classmethod
    def of(cls, spec: LabSpec, *, base: str | os.PathLike[str] = "") -> Self:
        """The lab of a spec."""
        lab = cls(spec.name)
        lab._spec, lab._base = spec, Path(base)
        return lab

    def node(self, name: str, **keys: Any) -> str:
        """Write a node into a lab that is built in code, with the keys of its table; returns its name, for `link`.

        Raises ValueError if it is there.
        """
        return self._written().node(name, **keys)

    def link(self, *ends: Any, **keys: Any) -> None:
        """Write a link: each end "node", "node:ifname" or a table; delay="20ms" and the like."""
        self._written().link(*ends, **keys)

    def _written(self) -> Topology:
        from tunlab.topology import Topology

        if self._spec is not None:
            problem = f"lab {self.name!r} was read from a file, and is complete"
            raise LabError(self.name, problem, remedy="write into that, or begin with Lab(name)")
        if self._topology is None:
            self._topology = Topology(self.name)
        return self._topology

    @property
    def spec(self) -> LabSpec:
        """What it is to be made from. Raises TopologyError for what was built wrong, LabError if nothing was."""
        if self._spec is not None:
            return self._spec
        if self._topology is None:
            problem = f"lab {self.name!r} has no nodes yet"
            remedy = "add them by node() and link(); one that is up already is entered by Lab.open(name).live()"
            raise LabError(self.name, problem, remedy=remedy)
        return self._topology.spec()

    @property
    def plan(self) -> LabPlan:
        """What it is made from, of the spec or, if it is up and has none, of its record. Raises LabError."""
        if self._spec is None and self._topology is None:
            return self.recorded_plan
        return plan(self.spec)

    # ---- anonymous -------------------------------------------------------------------------------------------------

    def __enter__(self) -> LiveLab:
        """Make it, without a name; gone at the end of the block. Raises as LiveLab.make."""
        if self._live is not None:
            raise LabError(self.name, f"lab {self.name!r} is being used already", remedy="make a second Lab")
        self._live = LiveLab.make(plan(self.spec), base=self._base)
        return self._live

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.close()
