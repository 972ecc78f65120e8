"""An engine's socket under another name, that a test can really close: what a lost engine is to whoever uses it."""

import contextlib
import socket
import threading


class SocketForwarder:
    """Forwards each connection to `target`, the path of a unix socket, until `cut`."""

    def __init__(self, path, target):
        self.path, self._target = path, target
        self._open = set()
        self._threads = []
        self._lock = threading.Lock()
        self._frozen = False
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(str(path))
        self._door.listen()
        self._start(self._serve)

    @property
    def spec(self):
        return f"unix://{self.path}"

    def _start(self, work, *arguments):
        thread = threading.Thread(target=work, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _serve(self):
        while True:
            try:
                near, _ = self._door.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(str(self._target))
            with self._lock:
                self._open |= {near, far}
            self._start(self._pass_on, near, far)
            self._start(self._pass_on, far, near)

    def _pass_on(self, source, target):
        with contextlib.suppress(OSError):
            while octets := source.recv(65_536):
                if not self._frozen:
                    target.sendall(octets)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def freeze(self):
        """Let everybody in and nothing through, as a frozen engine does, or a network that is gone."""
        self._frozen = True

    def cut(self):
        """Close all connections, and let nobody in any more."""
        self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        with self._lock:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in (self._door, *self._open):
            each.close()
