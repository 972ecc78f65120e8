"""Errors that several commands share: exit codes and messages."""

import pytest

LAB_NAME_HINT = "Use 1 to 15 characters of a-z, 0-9 and -, not starting with -."


def test_up_with_lab_name_over_15_characters_exits_78(tunlab):
    problem = f"is 'sixteen-letters-', which has 16 characters; the maximum is 15. {LAB_NAME_HINT}\n"
    assert tunlab("up", "--name", "sixteen-letters-") == (78, "", f"tunlab: `--name` {problem}")
    assert tunlab("down", "sixteen-letters-") == (78, "", f"tunlab: `name` {problem}")
    # `tunlab dump` also accepts the name of a node, which may be longer than the name of a lab.
    sentence = "no running lab has a node 'sixteen-letters-'. `tunlab ls` lists the running labs.\n"
    assert tunlab("dump", "sixteen-letters-") == (73, "", f"tunlab: {sentence}")


def test_up_with_slash_in_lab_name_exits_78(tunlab):
    result = tunlab("down", "../x")
    assert result == (78, "", f"tunlab: `name` is '../x', which is not a valid lab name. {LAB_NAME_HINT}\n")


def test_up_with_ifname_over_15_characters_exits_78(tunlab):
    result = tunlab("up", "--ifname", "sixteen-letters-")
    assert result == (
        78,
        "",
        (
            "tunlab: `--ifname` is 'sixteen-letters-', which has 16 characters; the kernel's maximum is 15."
            ' Choose a name such as "tun0".\n'
        ),
    )


def test_up_with_invalid_address_exits_78(tunlab):
    result = tunlab("up", "--address", "10.1.2.300/24")
    assert result == (
        78,
        "",
        (
            "tunlab: `--address` is '10.1.2.300/24', which is not an address."
            ' Write an IPv4 address with prefix length, such as "10.1.2.1/24".\n'
        ),
    )


def test_up_with_invalid_mtu_prints_an_error(tunlab):
    assert tunlab("up", "--mtu", "9").err == ("tunlab: `--mtu` is 9; the minimum is 68. Set 68 to 65535.\n")
    assert tunlab("up", "--mtu", "x").status == 2


def test_up_with_missing_lab_file_exits_78(tunlab, tmp_path):
    result = tunlab("up", str(tmp_path / "no.toml"))
    hint = "Give a readable lab file, or none for the default lab."
    assert result == (78, "", f"tunlab: {tmp_path}/no.toml: No such file or directory. {hint}\n")


def test_error_of_up_with_invalid_lab_file_names_file_and_key(tunlab, tmp_path):
    file = tmp_path / "x.toml"
    file.write_text('[nodes.stack]\ntnu = "10.1.2.1/24"')
    assert tunlab("up", str(file)).err == f"tunlab: {file}: `nodes.stack.tnu` is not a known key. Did you mean tun?\n"
    file.write_bytes(b"\xff\xfe")
    assert tunlab("up", str(file)).err == f"tunlab: {file}: not UTF-8 text. Give a lab file: TOML in UTF-8.\n"


def test_unknown_command_exits_2(tunlab):
    result = tunlab("pign")
    assert result.status == 2
    assert "No such command 'pign'" in result.err


def test_up_with_a_file_as_run_directory_exits_71(command, environment, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    result = command("up", env={**environment, "TUNLAB_RUN": str(file)})
    assert (result.status, result.err) == (
        71,
        f"tunlab: create {file}/lab: {file} is not a directory (ENOTDIR)\n",
    )


@pytest.mark.parametrize("arguments", [("ls",), ("up",), ("dump",)])
def test_command_with_a_relative_run_directory_exits_73(command, environment, tmp_path, arguments):
    result = command(*arguments, env={**environment, "TUNLAB_RUN": "labs"})
    assert (result.status, result.err) == (73, "tunlab: TUNLAB_RUN=labs is a relative path. Give an absolute path.\n")


@pytest.mark.parametrize("stream", [0, 1, 2])
@pytest.mark.parametrize("arguments", [("ls",), ("dump", "--timeout", "0.01"), ("up", "--name", "other")])
@pytest.mark.usefixtures("lab")
def test_command_with_a_closed_standard_stream_exits_0(command, need, stream, arguments):
    closed = (need("sh"), "-c", f'exec "$@" {stream}>&-', "sh")
    result = command(*arguments, prefix=closed)
    assert result.status == 0
    assert "Traceback" not in result.err


@pytest.mark.usefixtures("lab")
def test_ls_with_output_to_a_full_disk_exits_71(command, need):
    result = command("ls", prefix=(need("sh"), "-c", 'exec "$@" >/dev/full', "sh"))
    assert (result.status, result.err) == (71, "tunlab: No space left on device\n")


@pytest.mark.parametrize(
    "arguments", [("down",), ("dump",), ("exec", "lab", "true"), ("ping", "10.1.2.1"), ("inject", "--as-is", "45")]
)
@pytest.mark.usefixtures("lab")
def test_command_without_capabilities_exits_77(command, without_capabilities, arguments):
    result = command(*arguments, prefix=without_capabilities)
    assert (result.status, result.out) == (77, "")
    assert "CAP_SYS_ADMIN is missing (EPERM). Run as root" in result.err
    assert result.err.count("\n") == 1
