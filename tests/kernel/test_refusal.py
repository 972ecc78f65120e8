import errno

import pytest

from tunlab.errors import KernelError, PrivilegeError
from tunlab.kernel.refusal import CAPABILITIES, effective_capabilities, holds, refusal, refusing


def test_an_unknown_number_gives_the_systems_words():
    error = refusal(OSError(errno.EIO, "Input/output error"), "do it", netns="net:[1]", ifname="tun0")
    assert type(error) is KernelError
    assert str(error) == "do it: Input/output error (EIO)"
    assert (error.errno, error.operation, error.netns, error.ifname) == (errno.EIO, "do it", "net:[1]", "tun0")


def test_the_kernels_sentence_goes_before_the_systems_words():
    error = refusal(OSError(errno.EINVAL, "Invalid argument"), "do it", reason="mtu less than device minimum")
    assert str(error) == "do it: mtu less than device minimum (EINVAL)"


def test_a_known_number_gives_its_reason_and_remedy():
    error = refusal(OSError(errno.EIO, ""), "write", reasons={errno.EIO: ("the link is down", "set it up first")})
    assert str(error) == "write: the link is down (EIO); set it up first"
    assert error.remedy == "set it up first"


def test_a_known_number_goes_before_the_missing_capability():
    error = refusal(OSError(errno.EACCES, ""), "run", needs="CAP_NET_RAW", reasons={errno.EACCES: ("no x bit", "")})
    assert type(error) is KernelError


@pytest.mark.parametrize("code", [errno.EPERM, errno.EACCES])
def test_a_held_capability_is_not_called_missing(code):
    error = refusal(OSError(code, ""), "unshare", needs="CAP_SYS_ADMIN")
    assert isinstance(error, PrivilegeError)
    assert error.missing == "CAP_SYS_ADMIN"
    assert "CAP_SYS_ADMIN is in effect here" in str(error)
    assert "seccomp" in str(error)


def test_a_dropped_capability_is_named(run_python):
    source = """
        import errno
        from tunlab.kernel.refusal import refusal, holds
        assert not holds("CAP_NET_ADMIN") and holds("CAP_SYS_ADMIN")
        print(refusal(OSError(errno.EPERM, ""), "set tun0 up", needs="CAP_NET_ADMIN"))
    """
    said = run_python(source, prefix=["setpriv", "--bounding-set=-net_admin"])
    assert said.startswith("set tun0 up: CAP_NET_ADMIN is missing (EPERM); run as root, in a container with --cap-add")


def test_without_a_needed_capability_eperm_is_a_plain_error():
    assert type(refusal(OSError(errno.EPERM, ""), "write")) is KernelError


def test_another_number_does_not_blame_the_capability():
    assert type(refusal(OSError(errno.ENODEV, ""), "bind", needs="CAP_NET_RAW")) is KernelError


def test_a_kernel_error_goes_through_unchanged():
    first = KernelError(errno.EINVAL, "first")
    assert refusal(first, "second") is first
    with pytest.raises(KernelError) as raised, refusing("second"):
        raise first
    assert raised.value is first


def test_the_block_that_succeeds_is_left_alone():
    with refusing("do it"):
        value = 1
    assert value == 1


def test_another_exception_goes_through():
    with pytest.raises(ZeroDivisionError), refusing("do it"):
        raise ZeroDivisionError


def test_the_tree_is_still_an_oserror():
    with pytest.raises(OSError) as raised, refusing("do it"):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")
    assert raised.value.errno == errno.ENOENT
    assert isinstance(raised.value, KernelError)


def test_the_effective_capabilities_are_those_of_the_status_file():
    mask = effective_capabilities()
    for name, number in CAPABILITIES.items():
        assert holds(name) == bool(mask & 1 << number)
