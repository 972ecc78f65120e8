"""An sshd for one test and an ssh client's configuration for it, all in one directory.

Source: sshd(8) for -i, which serves one connection on standard input; sshd_config(5), ssh_config(5).
"""

import contextlib
import os
import shlex
import socket
import subprocess
import sys
import threading
from pathlib import Path

HOST = "tunlab-test-engine"
"""The server's alias in the client's configuration, which has the address and the port."""

# If sshd runs as root, it needs the directory /run/sshd. This shell script mounts an empty /run, links the entries of
# the real /run there, and creates /run/sshd.
_WITH_RUN_DIRECTORY = """
mkdir -p "$0/run"
mount --bind /run "$0/run"
mount -t tmpfs -o mode=755 none /run
ln -s "$0"/run/* /run/
rm -f /run/sshd
mkdir -m 755 /run/sshd
exec "$@"
"""

# This script allows only a few commands, and runs this file's `connect_stdio` instead of the Docker client.
_ALLOWED_COMMANDS = """#!/bin/sh
case $SSH_ORIGINAL_COMMAND in
true) exit 0 ;;
"docker system dial-stdio") exec {python} {program} {target} ;;
esac
echo "this command is not allowed: $SSH_ORIGINAL_COMMAND" >&2
exit 1
"""

_SERVER = """
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
PrintMotd no
LogLevel ERROR
"""

_CLIENT = """
Host {host}
    HostName 127.0.0.1
    Port {port}
    IdentityFile {directory}/key
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile {directory}/known_hosts
    GlobalKnownHostsFile none
    StrictHostKeyChecking yes
    ControlMaster no
"""


class SSHServer:
    """An sshd that accepts one key, until `close`.

    Attributes:
        port: The port on 127.0.0.1.
        spec: The spec of the engine, for processes with `environment`.
        environment: Environment variables with which `ssh` uses the client's configuration.
    """

    def __init__(self, directory: Path, target: Path, *, sshd: str, ssh: str, keygen: str) -> None:
        self._directory = directory
        for name in ("key", "host_key"):
            subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True, timeout=60)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        words = {"python": sys.executable, "program": __file__, "target": str(target)}
        allowed = _ALLOWED_COMMANDS.format(**{name: shlex.quote(word) for name, word in words.items()})
        self._write_script("allowed", allowed)
        (directory / "bin").mkdir()
        ssh_command = shlex.join([ssh, "-F", str(directory / "config")])
        self._write_script("bin/ssh", f'#!/bin/sh\nexec {ssh_command} "$@"\n')
        key = (directory / "key.pub").read_text()
        (directory / "authorized_keys").write_text(f'restrict,command="{directory / "allowed"}" {key}')
        (directory / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {(directory / 'host_key.pub').read_text()}")
        (directory / "config").write_text(_CLIENT.format(host=HOST, port=self.port, directory=directory))
        (directory / "sshd_config").write_text(_SERVER.format(directory=directory))
        self._command = [sshd, "-i", "-e", "-f", str(directory / "sshd_config")]
        if os.geteuid() == 0:
            self._command = ["unshare", "--mount", "sh", "-ec", _WITH_RUN_DIRECTORY, str(directory), *self._command]
        self.spec = f"ssh://{HOST}"
        self.environment = {"PATH": os.pathsep.join([str(directory / "bin"), os.environ["PATH"]])}
        self._log_file = (directory / "log").open("ab")
        self._sessions: list[subprocess.Popen[bytes]] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _write_script(self, name: str, text: str) -> None:
        (self._directory / name).write_text(text)
        (self._directory / name).chmod(0o755)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self._sessions.append(
                    subprocess.Popen(self._command, stdin=connection, stdout=connection, stderr=self._log_file)
                )

    @property
    def log(self) -> str:
        """The error messages of sshd."""
        return (self._directory / "log").read_text()

    def close(self) -> None:
        """Stop accepting connections, and end the existing ones."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for session in self._sessions:
            session.terminate()
            session.wait()
        self._log_file.close()


def connect_stdio(target: str) -> None:
    """Copy data between standard input and output and a unix socket, until the socket closes."""
    with socket.socket(socket.AF_UNIX) as engine:
        engine.connect(target)

        def copy_input() -> None:
            with contextlib.suppress(OSError):
                while data := os.read(0, 65_536):
                    engine.sendall(data)
                engine.shutdown(socket.SHUT_WR)

        threading.Thread(target=copy_input, daemon=True).start()
        with contextlib.suppress(OSError):
            while data := engine.recv(65_536):
                while data:
                    data = data[os.write(1, data) :]
    os._exit(0)  # Exit without waiting for the thread that reads standard input.


if __name__ == "__main__":
    connect_stdio(sys.argv[1])
