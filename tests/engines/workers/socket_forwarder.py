"""A forwarder for an engine's socket, which a test can freeze or close to simulate a lost engine."""

import contextlib
import socket
import threading


class SocketForwarder:
    """A forwarder of connections to the unix socket with the path `target`, until `close`."""

    def __init__(self, path, target):
        self.path, self._target = path, target
        self._open = set()
        self._threads = []
        self._lock = threading.Lock()
        self._frozen = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
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
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(str(self._target))
            with self._lock:
                self._open |= {near, far}
            self._start(self._forward, near, far)
            self._start(self._forward, far, near)

    def _forward(self, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if not self._frozen:
                    target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def freeze(self):
        """Accept connections but forward nothing, like a frozen engine or a broken network."""
        self._frozen = True

    def close(self):
        """Close all connections, and accept no others."""
        self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        with self._lock:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in (self._listener, *self._open):
            each.close()
