"""`tunlab --help`: the list of commands, the help of their options, and the modules that are imported."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from tunlab.cli.group import tunlab as group

COMMANDS = [
    "up", "down", "ls", "gc", "exec", "shell", "logs", "restart", "graph", "check", "ping-all", "watch",
    "dump", "ping", "inject", "report", "replay", "demo", "test", "doctor",
]  # fmt: skip


def test_help_lists_every_command():
    result = CliRunner().invoke(group, ["--help"])
    assert result.exit_code == 0
    listed = result.output.partition("Commands:\n")[2].split("\n\n")[0]
    assert [line.split()[0] for line in listed.splitlines()] == COMMANDS
    assert "..." not in listed
    assert "_TUNLAB_COMPLETE=bash_source" in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command_has_an_example(name):
    result = CliRunner().invoke(group, [name, "--help"])
    assert result.exit_code == 0
    assert f"Example: tunlab {name}" in " ".join(result.output.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_help_describes_every_option(name):
    command = group.get_command(click.Context(group), name)
    assert [each.name for each in command.params if isinstance(each, click.Option) and not each.help] == []


def test_help_of_inject_explains_a_tun_opened_by_another_program():
    result = " ".join(CliRunner().invoke(group, ["inject", "--help"]).output.split())
    assert (
        "While a program other than tunlab has the TUN open, only that program can write to it, and inject fails"
        in result
    )
    assert "With --to-reader the bytes go to that program, as if the kernel had sent them" in result


def test_help_does_not_import_slow_modules(environment):
    script = (
        "import sys; from tunlab.cli import main; main(['--help']);"
        "heavy = {'pyroute2', 'docker', 'pytest', 'msgspec', 'tunlab.kernel', 'tunlab.packet', 'tunlab.lab'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_up_does_not_import_packet_docker_or_pytest_modules(environment):
    script = (
        "import sys; from tunlab.cli import main; main(['up']); main(['down']);"
        "heavy = {'docker', 'pytest', 'tunlab.packet', 'tunlab.traffic'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_bash_completion_variable_prints_a_completion_script(command, environment):
    result = command(env={**environment, "_TUNLAB_COMPLETE": "bash_source"})
    assert result.status == 0
    assert "complete -o nosort -F _tunlab_completion tunlab" in result.out


def test_version_option_prints_the_version(tunlab):
    result = tunlab("--version")
    assert result.status == 0
    assert result.out.startswith("tunlab")
