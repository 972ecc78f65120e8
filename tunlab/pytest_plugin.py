"""The pytest plugin: namespaces, TUN devices, traffic and whole labs as fixtures.

    def test_the_kernel_answers(tun):
        tun.inject(IPv4(src=tun.peer, dst=tun.address), ICMP.echo_request(1, 1), b"payload")
        assert tun.expect(ICMP.where(type=0)).payload == b"payload"

Settings → factory → per-test fixture: ini options and `@pytest.mark.tun(…)` set, `make_netns` and
`make_tun` make, `netns` and `tun` are the test's own; so are `@pytest.mark.lab(…)`, `make_lab` and `lab`.
All of it is gone when the test ends; nothing has a name, so tests under pytest-xdist cannot meet.

Rule for editors: every pytest run on a user's machine imports this module, whether it uses tunlab or
not. Import tunlab inside functions.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tunlab.errors import KernelError
    from tunlab.kernel.netns import Netns
    from tunlab.lab.live_lab import LiveLab
    from tunlab.packet import Packet
    from tunlab.packet.stack import Layer
    from tunlab.traffic import Ping, Tun

T = TypeVar("T")

# The others stand on these, so they are in the closure of each; a user's own `ping` or `lab` is none of them.
FIXTURES = frozenset({"make_netns", "make_lab"})
MARKER = (
    "tun(address='10.1.2.1/24', ifname='tun0', mtu=1500, ipv6=False, sysctls={…}, timeout=2.0): "
    "settings of this test's tun and netns fixtures (tunlab)"
)
LAB_MARKER = (
    "lab('router.toml'): the lab of this test's lab fixture: a lab file beside the test or in the root directory,"
    " a ready lab's name, TOML text, or nodes={…}, links=[…] as a lab file has them (tunlab)"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tunlab", "tunlab: network namespaces and TUN devices")
    group.addoption(
        "--tunlab-skip",
        action="store_true",
        help="Skip tests that need rights this machine does not give, instead of failing them.",
    )
    group.addoption(
        "--tunlab-rootless",
        action="store_true",
        help="Run pytest-xdist's workers in user namespaces where root is missing (without -n that is automatic).",
    )
    parser.addini("tunlab_address", "Address of the tun fixture, with its prefix length.", default="10.1.2.1/24")
    parser.addini("tunlab_ifname", "Device name of the tun fixture.", default="tun0")
    parser.addini("tunlab_mtu", "MTU of the tun fixture in octets.", default="1500")
    parser.addini("tunlab_timeout", "Seconds that expect() waits.", default="2.0")
    parser.addini("tunlab_ipv6", "Whether namespaces speak IPv6.", type="bool", default=False)
    parser.addini("tunlab_sysctls", "Sysctls of every namespace, a line each: net.ipv4.tcp_sack = 0", type="linelist")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)
    config.addinivalue_line("markers", LAB_MARKER)


def _end_with_the_controller(config: pytest.Config) -> None:
    """Have the kernel end a pytest-xdist worker as soon as its controller is gone, however that ended.

    execnet's own timers take some twenty seconds over it; until then the worker's namespaces and programs would live.
    """
    if not hasattr(config, "workerinput"):
        return
    import signal

    from tunlab.kernel import libc

    controller = os.getppid()
    libc.die_with_parent(signal.SIGKILL)
    if os.getppid() != controller:  # it was gone already
        os.kill(os.getpid(), signal.SIGKILL)


# ---- rootless ------------------------------------------------------------------------------------------------------


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: list[Any]) -> None:
    """Start the workers inside user namespaces: once they run they have threads, and may enter none any more."""
    if not config.getoption("tunlab_rootless"):
        return
    from tunlab.kernel.refusal import holds

    if holds("CAP_SYS_ADMIN"):
        return
    for spec in specs:
        if spec.popen and not spec.python:
            spec.python = shlex.join([sys.executable, "-m", "tunlab.kernel.userns", sys.executable])


def pytest_collection_finish(session: pytest.Session) -> None:
    """Without root, and before any test runs, move into a user namespace; only if a test here needs one."""
    config = session.config
    if hasattr(config, "workerinput") or config.getoption("collectonly"):
        return
    if config.getoption("numprocesses", None) or config.getoption("tx", None):
        return  # the controller runs no test
    if not any(FIXTURES.intersection(getattr(item, "fixturenames", ())) for item in session.items):
        return
    from tunlab.errors import KernelError
    from tunlab.kernel.refusal import holds
    from tunlab.kernel.userns import enter_user_namespace

    if holds("CAP_SYS_ADMIN") and holds("CAP_NET_ADMIN"):
        return
    # In another process first: one that gets into the namespace but not any further cannot come back.
    launcher = [sys.executable, "-m", "tunlab.kernel.userns", sys.executable, "-c", ""]
    trial = subprocess.run(launcher, capture_output=True, text=True, check=False)
    if trial.returncode:
        config.stash[_no_user_namespace] = trial.stderr.strip()
        return
    try:
        enter_user_namespace()
    except KernelError as error:
        config.stash[_no_user_namespace] = str(error)


_no_user_namespace = pytest.StashKey[str]()
_ending = pytest.StashKey[set[tuple[int, int]]]()  # the namespaces that end with the test


# ---- settings ------------------------------------------------------------------------------------------------------


def _settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What `tun` and `netns` are made with: the ini options, overridden by the markers, the nearest last."""
    config = request.config
    settings: dict[str, Any] = {
        "address": config.getini("tunlab_address"),
        "ifname": config.getini("tunlab_ifname"),
        "mtu": _number(config, "tunlab_mtu", int),
        "timeout": _number(config, "tunlab_timeout", float),
        "ipv6": _flag(config, "tunlab_ipv6"),
        "sysctls": dict(_sysctl(line) for line in config.getini("tunlab_sysctls")),
    }
    for marker in reversed(list(request.node.iter_markers("tun"))):
        if marker.args:
            _mistake(f"@pytest.mark.tun takes keywords: {MARKER}")
        for name, value in marker.kwargs.items():
            if name not in settings:
                close = get_close_matches(name, settings, n=1)
                hint = f"did you mean {close[0]}?" if close else f"it takes {', '.join(settings)}"
                _mistake(f"@pytest.mark.tun has no setting {name!r}; {hint}")
            _check("@pytest.mark.tun", name, value)
            settings[name] = {**settings[name], **value} if name == "sysctls" else value
    return settings


_KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "address": (str, "text, as '10.1.2.1/24'"),
    "ifname": (str, "text, as 'tun0'"),
    "mtu": (int, "a number of octets, as 1500"),
    "timeout": ((int, float), "a number of seconds, as 2.0"),
    "ipv6": (bool, "True or False"),
    "sysctls": (dict, "a dictionary, as {'net.ipv4.tcp_sack': '0'}"),
}


def _check(place: str, name: str, value: object) -> None:
    kind, form = _KINDS[name]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        _mistake(f"{place}: {name}={value!r} cannot be; it is {form}")
    if name == "timeout" and isinstance(value, (int, float)) and not 0 <= value < float("inf"):
        _mistake(f"{place}: {name}={value!r} cannot be; give seconds, from 0 on")


def _mistake(sentence: str) -> NoReturn:
    """A user's mistake is told in a sentence; a traceback through this file would help nobody."""
    raise pytest.fail.Exception(f"tunlab: {sentence}", pytrace=False) from None


def _number(config: pytest.Config, name: str, kind: Callable[[str], Any]) -> Any:
    text = config.getini(name)
    try:
        value = kind(text)
    except ValueError:
        _mistake(f"{name} = {text!r} in the configuration: give a number")
    _check("the configuration", name.removeprefix("tunlab_"), value)
    return value


def _flag(config: pytest.Config, name: str) -> Any:
    try:
        return config.getini(name)
    except (ValueError, TypeError):
        _mistake(f"{name} in the configuration is neither true nor false")


def _sysctl(line: str) -> tuple[str, str]:
    name, equals, value = line.partition("=")
    if not equals:
        _mistake(f"tunlab_sysctls: {line!r} is no line of the form net.ipv4.tcp_sack = 0")
    return name.strip(), value.strip()


def _refuse(config: pytest.Config, error: KernelError) -> NoReturn:
    """One sentence that says what is missing, as a skip if that was asked for, else as a failure."""
    text = f"tunlab: {error}"
    if note := config.stash.get(_no_user_namespace, ""):
        text += f" (and without root, no user namespace: {note})"
    if hasattr(config, "workerinput") and not config.getoption("tunlab_rootless"):
        text += " (or let pytest-xdist's workers have user namespaces: --tunlab-rootless)"
    if config.getoption("tunlab_skip"):
        raise pytest.skip.Exception(text) from None
    raise pytest.fail.Exception(f"{text}; --tunlab-skip skips such tests", pytrace=False) from None


def _lab(which: str | os.PathLike[str] | None, beside: Sequence[Path], tables: dict[str, Any]) -> LiveLab:
    """The lab of a file, of a ready lab, of TOML text, which is known by its line breaks, or of tables."""
    from tunlab.lab.files import find_lab_file, spec_of_file
    from tunlab.lab.live_lab import LiveLab
    from tunlab.topology import parse_lab, plan
    from tunlab.topology.reading import read_document

    base = beside[0]
    if which is None:
        spec = read_document(tables)
    elif isinstance(which, str) and "\n" in which:
        spec = parse_lab(which).changed(**tables)
    else:
        file = find_lab_file(os.fspath(which), beside)
        spec, base = spec_of_file(file).changed(**tables), file.parent
    return LiveLab.make(plan(spec), base=base)


def _as_set(make: Callable[..., T], **resources: object) -> T:
    """What the settings say; one that cannot be, or that the kernel does not take, is the user's mistake."""
    from tunlab.errors import KernelError, LabError, TopologyError

    try:
        return make(**resources)
    except (KernelError, LabError, TopologyError) as error:
        mistake = str(error)
    _mistake(mistake)  # only now, so that pytest shows no error behind it


# ---- fixtures ------------------------------------------------------------------------------------------------------


@pytest.fixture
def make_netns(request: pytest.FixtureRequest) -> Iterator[Callable[..., Netns]]:
    """Makes network namespaces: `make_netns(ipv6=False, sysctls={})`; they end with the test."""
    from contextlib import ExitStack

    from tunlab.errors import PrivilegeError
    from tunlab.kernel.netns import Netns

    settings = _settings(request)
    _end_with_the_controller(request.config)
    with ExitStack() as resources:

        def make(*, ipv6: bool = settings["ipv6"], sysctls: Mapping[str, str] | None = None) -> Netns:
            try:
                made = Netns.create(ipv6=ipv6, sysctls={**settings["sysctls"], **(sysctls or {})})
                netns = resources.enter_context(made)
                request.node.stash.setdefault(_ending, set()).add(netns.identity)
            except PrivilegeError as error:
                _refuse(request.config, error)
            resources.callback(netns.end_programs)
            return netns

        yield make


@pytest.fixture
def netns(make_netns: Callable[..., Netns]) -> Netns:
    """A network namespace of the test's own, with only lo in it: `call`, `run`, `popen`, `socket`, `set_sysctl`."""
    return _as_set(make_netns)


@pytest.fixture
def make_tun(request: pytest.FixtureRequest, make_netns: Callable[..., Netns]) -> Iterator[Callable[..., Tun]]:
    """Makes TUN devices: `make_tun(address=…, mtu=…, netns=…)`, each in a namespace of its own unless one is given."""
    from contextlib import ExitStack

    from tunlab.errors import PrivilegeError
    from tunlab.traffic import Tun

    defaults = _settings(request)
    with ExitStack() as resources:

        def make(*, netns: Netns | None = None, **settings: Any) -> Tun:
            if netns is None:
                own = {name: settings.pop(name) for name in ("ipv6", "sysctls") if name in settings}
                netns = make_netns(**own)
            wanted = {name: defaults[name] for name in ("address", "ifname", "mtu", "timeout")} | settings
            try:
                tun = Tun.create(**wanted, netns=netns)
                ending = request.node.stash.get(_ending, set())
                resources.callback(tun.close, keep_device=netns.identity in ending)
                return tun
            except PrivilegeError as error:
                _refuse(request.config, error)

        yield make


@pytest.fixture
def tun(make_tun: Callable[..., Tun], netns: Netns) -> Tun:
    """A TUN device that is up and has an address, in the test's own namespace; the test is its other end."""
    return _as_set(make_tun, netns=netns)


@pytest.fixture
def ping(tun: Tun) -> Callable[..., Ping]:
    """`ping(address, count=1, payload=…, identifier=0)`: echo requests by the kernel behind this test's TUN."""
    return tun.ping


@pytest.fixture
def inject(tun: Tun) -> Callable[[Layer | Packet], bytes]:
    """`inject(IPv4(…), TCP(…), b"payload")`: a datagram that the kernel behind this test's TUN receives."""
    return tun.inject


@pytest.fixture
def make_lab(request: pytest.FixtureRequest) -> Iterator[Callable[..., LiveLab]]:
    """Makes labs: `make_lab("router.toml")`, a ready lab's name, TOML text, or `nodes={…}`; they end with the test."""
    from contextlib import ExitStack

    from tunlab.errors import PrivilegeError

    beside = (request.path.parent, request.config.rootpath)
    with ExitStack() as resources:

        def make(which: str | os.PathLike[str] | None = None, **tables: Any) -> LiveLab:
            try:
                return resources.enter_context(_lab(which, beside, tables))
            except PrivilegeError as error:
                _refuse(request.config, error)

        yield make


@pytest.fixture
def lab(request: pytest.FixtureRequest, make_lab: Callable[..., LiveLab]) -> LiveLab:
    """The lab that `@pytest.mark.lab("router.toml")` names, up: `lab["client"].run(["ping", "-c1", "server"])`."""
    marker = request.node.get_closest_marker("lab")
    if marker is None:
        _mistake('the fixture lab makes what @pytest.mark.lab("router.toml") names, and this test has no such mark')
    which = marker.args[0] if marker.args else None
    if len(marker.args) > 1 or not isinstance(which, str | os.PathLike | None) or not (marker.args or marker.kwargs):
        _mistake(f"@pytest.mark.lab takes one lab file, ready lab or TOML text: {LAB_MARKER}")
    if which is not None and (unknown := [key for key in marker.kwargs if key != "name"]):
        _mistake(f"@pytest.mark.lab has no setting {unknown[0]!r} beside a lab file; it takes name")
    return _as_set(make_lab, which=which, **marker.kwargs)
