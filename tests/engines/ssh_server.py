"""A real sshd for one test, and a client that is configured for it; nothing of either is outside a directory.

Source: sshd(8) for -i, one connection at standard input; sshd_config(5), ssh_config(5).
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
"""What the client's configuration calls it; the port is only there."""

# As root it wants an empty /run/sshd, which is there only where a system's own runs: here is a /run of its own, in
# which all else stands as it was.
_WITH_ITS_DIRECTORY = """
mkdir -p "$0/run"
mount --bind /run "$0/run"
mount -t tmpfs -o mode=755 none /run
ln -s "$0"/run/* /run/
rm -f /run/sshd
mkdir -m 755 /run/sshd
exec "$@"
"""

# What is asked for by name on the engine's machine; its command-line client joins two streams, and so does this.
_ASKED = """#!/bin/sh
case $SSH_ORIGINAL_COMMAND in
true) exit 0 ;;
"docker system dial-stdio") exec {python} {program} {target} ;;
esac
echo "nothing else is run here: $SSH_ORIGINAL_COMMAND" >&2
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
    """Lets in who has the key, from its making until `close`.

    port         on 127.0.0.1
    spec         of the engine behind it, for somebody with the environment
    environment  in which `ssh` is configured for it
    """

    def __init__(self, directory: Path, target: Path, *, sshd: str, ssh: str, keygen: str) -> None:
        self._directory = directory
        for name in ("key", "host_key"):
            subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True, timeout=60)
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        words = {"python": sys.executable, "program": __file__, "target": str(target)}
        self._script("asked", _ASKED.format(**{name: shlex.quote(word) for name, word in words.items()}))
        (directory / "bin").mkdir()
        configured = shlex.join([ssh, "-F", str(directory / "config")])
        self._script("bin/ssh", f'#!/bin/sh\nexec {configured} "$@"\n')
        key = (directory / "key.pub").read_text()
        (directory / "authorized_keys").write_text(f'restrict,command="{directory / "asked"}" {key}')
        (directory / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {(directory / 'host_key.pub').read_text()}")
        (directory / "config").write_text(_CLIENT.format(host=HOST, port=self.port, directory=directory))
        (directory / "sshd_config").write_text(_SERVER.format(directory=directory))
        self._command = [sshd, "-i", "-e", "-f", str(directory / "sshd_config")]
        if os.geteuid() == 0:
            self._command = ["unshare", "--mount", "sh", "-ec", _WITH_ITS_DIRECTORY, str(directory), *self._command]
        self.spec = f"ssh://{HOST}"
        self.environment = {"PATH": os.pathsep.join([str(directory / "bin"), os.environ["PATH"]])}
        self._log = (directory / "log").open("ab")
        self._sessions: list[subprocess.Popen[bytes]] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _script(self, name: str, text: str) -> None:
        (self._directory / name).write_text(text)
        (self._directory / name).chmod(0o755)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._door.accept()
            except OSError:
                return
            with connection:
                self._sessions.append(
                    subprocess.Popen(self._command, stdin=connection, stdout=connection, stderr=self._log)
                )

    @property
    def said(self) -> str:
        """What its servers have complained of."""
        return (self._directory / "log").read_text()

    def close(self) -> None:
        """Let nobody in any more, and end those who are."""
        with contextlib.suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._door.close()
        for session in self._sessions:
            session.terminate()
            session.wait()
        self._log.close()


def join(target: str) -> None:
    """Join standard input and output to a unix socket, until both directions have ended."""
    with socket.socket(socket.AF_UNIX) as engine:
        engine.connect(target)

        def outward() -> None:
            with contextlib.suppress(OSError):
                while octets := os.read(0, 65_536):
                    engine.sendall(octets)
                engine.shutdown(socket.SHUT_WR)

        threading.Thread(target=outward, daemon=True).start()
        with contextlib.suppress(OSError):
            while octets := engine.recv(65_536):
                while octets:
                    octets = octets[os.write(1, octets) :]
    os._exit(0)  # who is at standard input may wait for ever


if __name__ == "__main__":
    join(sys.argv[1])
