"""The command line itself: help, errors, what is imported when; `doctor`."""

import json
import os
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from tunlab.cli.group import tunlab as group

COMMANDS = [
    "up", "down", "ls", "gc", "exec", "shell", "graph", "check", "ping-all", "watch",
    "dump", "ping", "inject", "report", "replay", "demo", "test", "doctor",
]  # fmt: skip


class TestHelp:
    def test_every_command_is_listed(self):
        said = CliRunner().invoke(group, ["--help"])
        assert said.exit_code == 0
        listed = said.output.partition("Commands:\n")[2].split("\n\n")[0]
        assert [line.split()[0] for line in listed.splitlines()] == COMMANDS
        assert "..." not in listed
        assert "_TUNLAB_COMPLETE=bash_source" in said.output

    @pytest.mark.parametrize("name", COMMANDS)
    def test_every_command_has_an_example(self, name):
        said = CliRunner().invoke(group, [name, "--help"])
        assert said.exit_code == 0
        assert f"Example: tunlab {name}" in " ".join(said.output.split())

    @pytest.mark.parametrize("name", COMMANDS)
    def test_every_option_says_what_it_does(self, name):
        command = group.get_command(click.Context(group), name)
        assert [each.name for each in command.params if isinstance(each, click.Option) and not each.help] == []

    def test_inject_says_when_it_is_refused_and_what_to_do(self):
        said = " ".join(CliRunner().invoke(group, ["inject", "--help"]).output.split())
        assert (
            "While a program that is no tunlab holds the TUN, only that can write to it, and inject is refused" in said
        )
        assert "with --to-reader the octets go to that program instead" in said

    def test_it_imports_nothing_heavy(self, environment):
        script = (
            "import sys; from tunlab.cli import main; main(['--help']);"
            "heavy = {'pyroute2', 'docker', 'pytest', 'msgspec', 'tunlab.kernel', 'tunlab.packet', 'tunlab.lab'};"
            "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
        )
        done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")

    def test_up_imports_no_packets(self, environment):
        script = (
            "import sys; from tunlab.cli import main; main(['up']); main(['down']);"
            "heavy = {'docker', 'pytest', 'tunlab.packet', 'tunlab.traffic'};"
            "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
        )
        done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def test_completion(self, command, environment):
        said = command(env={**environment, "_TUNLAB_COMPLETE": "bash_source"})
        assert said.status == 0
        assert "complete -o nosort -F _tunlab_completion tunlab" in said.out

    def test_the_version(self, tunlab):
        said = tunlab("--version")
        assert said.status == 0
        assert said.out.startswith("tunlab")


class TestErrors:
    def test_a_name_over_15_characters(self, tunlab):
        sentence = (
            "'sixteen-letters-' has 16 characters, and a lab's name has 15 at most; take 1 to 15 of a-z, 0-9 and -\n"
        )
        assert tunlab("up", "--name", "sixteen-letters-") == (78, "", f"tunlab: --name: {sentence}")
        assert tunlab("down", "sixteen-letters-") == (78, "", f"tunlab: name: {sentence}")
        # A node may be called so.
        sentence = "no lab that is up has a node 'sixteen-letters-'; tunlab ls shows what is up\n"
        assert tunlab("dump", "sixteen-letters-") == (73, "", f"tunlab: {sentence}")

    def test_a_name_that_leads_out_of_the_directory(self, tunlab):
        said = tunlab("down", "../x")
        assert said == (78, "", "tunlab: name: a lab cannot be called '../x'; take 1 to 15 of a-z, 0-9 and -\n")

    def test_a_device_name_over_15_characters(self, tunlab):
        said = tunlab("up", "--ifname", "sixteen-letters-")
        assert said == (
            78,
            "",
            (
                "tunlab: --ifname: 'sixteen-letters-' has 16 characters, and the kernel takes 15 at most;"
                ' give one like "tun0"\n'
            ),
        )

    def test_an_address_that_is_none(self, tunlab):
        said = tunlab("up", "--address", "10.1.2.300/24")
        assert said == (
            78,
            "",
            (
                "tunlab: --address: '10.1.2.300/24' is no address; give an IPv4 address and the prefix length of its"
                ' network, as "10.1.2.1/24"\n'
            ),
        )

    def test_an_mtu_that_is_none(self, tunlab):
        assert tunlab("up", "--mtu", "9").err == (
            "tunlab: --mtu: 9 is no MTU; give a number of octets from 68 to 65535\n"
        )
        assert tunlab("up", "--mtu", "x").status == 2

    def test_a_lab_file_that_does_not_exist(self, tunlab, tmp_path):
        said = tunlab("up", str(tmp_path / "no.toml"))
        assert said == (78, "", f"tunlab: {tmp_path}/no.toml: No such file or directory; give a lab file, or none\n")

    def test_a_lab_file_with_a_mistake(self, tunlab, tmp_path):
        file = tmp_path / "x.toml"
        file.write_text('[nodes.stack]\ntnu = "10.1.2.1/24"')
        assert tunlab("up", str(file)).err == f"tunlab: {file}: nodes.stack.tnu: no such key; did you mean tun?\n"
        file.write_bytes(b"\xff\xfe")
        assert tunlab("up", str(file)).err == f"tunlab: {file}: no text; give a lab file, TOML in UTF-8\n"

    def test_a_command_that_there_is_not(self, tunlab):
        said = tunlab("pign")
        assert said.status == 2
        assert "No such command 'pign'" in said.err

    def test_a_run_directory_that_is_a_file(self, command, environment, tmp_path):
        file = tmp_path / "file"
        file.write_text("")
        said = command("up", env={**environment, "TUNLAB_RUN": str(file)})
        assert (said.status, said.err) == (
            71,
            f"tunlab: make {file}/lab: {file} is no directory (ENOTDIR)\n",
        )

    @pytest.mark.parametrize("arguments", [("ls",), ("up",), ("dump",)])
    def test_a_run_directory_that_depends_on_where_one_stands(self, command, environment, tmp_path, arguments):
        said = command(*arguments, env={**environment, "TUNLAB_RUN": "labs"})
        assert (said.status, said.err) == (73, "tunlab: TUNLAB_RUN=labs is relative; give a path that begins with /\n")

    @pytest.mark.parametrize("stream", [0, 1, 2])
    @pytest.mark.parametrize("arguments", [("ls",), ("dump", "--timeout", "0.01"), ("up", "--name", "other")])
    @pytest.mark.usefixtures("lab")
    def test_a_standard_stream_that_is_closed(self, command, need, stream, arguments):
        closed = (need("sh"), "-c", f'exec "$@" {stream}>&-', "sh")
        said = command(*arguments, prefix=closed)
        assert said.status == 0
        assert "Traceback" not in said.err

    @pytest.mark.usefixtures("lab")
    def test_an_output_that_is_full(self, command, need):
        said = command("ls", prefix=(need("sh"), "-c", 'exec "$@" >/dev/full', "sh"))
        assert (said.status, said.err) == (71, "tunlab: No space left on device\n")

    @pytest.mark.parametrize(
        "arguments", [("down",), ("dump",), ("exec", "lab", "true"), ("ping", "10.1.2.1"), ("inject", "--as-is", "45")]
    )
    @pytest.mark.usefixtures("lab")
    def test_without_capabilities(self, command, without_capabilities, arguments):
        said = command(*arguments, prefix=without_capabilities)
        assert (said.status, said.out) == (77, "")
        assert "CAP_SYS_ADMIN is missing (EPERM); run as root" in said.err
        assert said.err.count("\n") == 1


class TestDoctor:
    def test_this_machine_can(self, command):
        said = command("doctor", "--json")
        assert said.status == 0
        probes = {each["name"]: each for each in json.loads(said.out)}
        assert {"/dev/net/tun", "CAP_NET_ADMIN", "TUN device", "ping", "Docker Engine"} <= set(probes)
        assert probes["TUN device"]["ok"] is True

    def test_what_is_missing_has_its_remedy(self, command, without_tun_node):
        said = command("doctor", prefix=without_tun_node)
        assert said.status == 77
        assert "MISSING  /dev/net/tun" in said.out
        assert "→ load the driver (modprobe tun)" in said.out
        assert said.err == "\ntunlab does not work here: see what is MISSING\n"

    def test_rootless(self, command, as_nobody):
        said = command("doctor", prefix=as_nobody())
        assert (said.status, said.err) == (0, "\ntunlab works here, rootless; labs that stay (tunlab up) need root\n")
        assert not [line for line in said.out.splitlines() if line.startswith("MISSING")]
        probes = {each["name"]: each for each in json.loads(command("doctor", "--json", prefix=as_nobody()).out)}
        for name in ("/dev/net/tun", "CAP_NET_ADMIN", "network namespace", "TUN device", "packet socket"):
            assert (probes[name]["ok"], probes[name]["rootless"]) == (True, True)
        assert said.out.count(", rootless\n") == sum(each["rootless"] for each in probes.values())

    def test_without_root_a_closed_node_is_missing(self, command, as_nobody):
        said = command("doctor", prefix=as_nobody(mode="600"))
        assert (said.status, said.err) == (77, "\ntunlab does not work here: see what is MISSING\n")
        missing = [line.split()[1] for line in said.out.splitlines() if line.startswith("MISSING")]
        assert missing == ["/dev/net/tun", "TUN"]

    def test_an_engine_that_does_not_answer_is_no_error(self, command, environment):
        said = command("doctor", env={**environment, "DOCKER_HOST": "unix:///nonexistent/docker.sock"})
        assert said.status == 0
        assert "there is no engine: no socket /nonexistent/docker.sock" in said.out

    def test_without_capabilities(self, command, without_capabilities):
        said = command("doctor", prefix=without_capabilities)
        assert said.status == 77
        assert "MISSING  CAP_NET_ADMIN" in said.out
        assert os.linesep * 3 not in said.out
