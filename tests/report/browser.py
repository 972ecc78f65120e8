"""Headless Chromium, controlled with the DevTools protocol over two pipes, without a port, driver or library.

Source: Chromium's --remote-debugging-pipe reads requests from descriptor 3 and writes answers to 4, as JSON that ends
with a zero byte.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import subprocess
import time
from collections import deque
from pathlib import Path

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-extensions", "--disable-sync",
    "--force-color-profile=srgb", "--remote-debugging-pipe",
)  # fmt: skip
TIMEOUT = 60.0


class Browser:
    """A page in headless Chromium, with its requests, console messages and exceptions."""

    def __init__(self, program: str, directory: Path) -> None:
        self.events: list[dict] = []
        self._number, self._received, self._answers = 0, b"", deque()
        # The log has Chromium's standard error. It is shown if Chromium does not answer.
        self.log = directory / "chromium.log"
        chromium_input, self._send = os.pipe()
        self._receive, chromium_output = os.pipe()
        # A shell duplicates the pipes to descriptors 3 and 4. A pipe that already has one of them is moved first.
        profile = f"--user-data-dir={directory / 'profile'}"
        if {chromium_input, chromium_output} & {3, 4}:
            chromium_input, chromium_output = _higher(chromium_input), _higher(chromium_output)
        script = f'exec 3<&{chromium_input} 4>&{chromium_output}; exec "$@"'
        environment = {**os.environ, "HOME": str(directory), "DBUS_SESSION_BUS_ADDRESS": "disabled:"}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["/bin/bash", "-c", script, "bash", program, *FLAGS, profile, "about:blank"],
                pass_fds=(chromium_input, chromium_output), start_new_session=True, env=environment,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
            )  # fmt: skip
        os.close(chromium_input)
        os.close(chromium_output)
        self._session = None
        targets = self.call("Target.getTargets")["targetInfos"]
        target = next((each["targetId"] for each in targets if each["type"] == "page"), None)
        if target is None:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: object) -> dict:
        """Send a command and return its result. Events that arrive in the meantime are appended to `events`."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        answer = self._until(lambda each: each.get("id") == self._number, method)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def wait(self, event: str) -> dict:
        """Wait for the next event with this name, and return it."""
        return self._until(lambda each: each.get("method") == event, event)

    def _until(self, wanted, what: str) -> dict:
        deadline = time.monotonic() + TIMEOUT
        while True:
            while b"\0" not in self._received:
                left = deadline - time.monotonic()
                if left <= 0 or not select.select([self._receive], [], [], left)[0]:
                    raise AssertionError(f"no {what} within {TIMEOUT} s: {self.log.read_text()[-2000:]}")
                piece = os.read(self._receive, 1 << 20)
                if not piece:
                    raise AssertionError(f"Chromium has ended before {what}: {self.log.read_text()[-2000:]}")
                self._received += piece
            text, self._received = self._received.split(b"\0", 1)
            message = json.loads(text)
            if "method" in message:
                self.events.append(message)
            if wanted(message):
                return message

    def open(self, file: Path) -> None:
        """Load a file, and wait until it is loaded."""
        self.events.clear()
        self.call("Page.navigate", url=file.as_uri())
        if not any(each["method"] == "Page.loadEventFired" for each in self.events):
            self.wait("Page.loadEventFired")

    def run(self, expression: str) -> object:
        """Return the value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, *keys: str) -> None:
        """Press keys one after another."""
        for key in keys:
            text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
            code = {"Enter": 13, "Tab": 9, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39,
                    "ArrowDown": 40, "Home": 36, "End": 35, "PageUp": 33, "PageDown": 34}.get(key, 0)  # fmt: skip
            self.call("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, text=text)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def point(self, selector: str, *, across: float = 0.5) -> tuple[float, float]:
        """Move the mouse over an element, and return the position. `across` is the fraction of its width."""
        box = self.run(
            f"(() => {{ const box = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
            f" return [box.left + box.width * {across}, box.top + box.height / 2]; }})()"
        )
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])
        return box

    def click(self, selector: str, *, across: float = 0.5) -> None:
        """Click on an element. `across` is the position as a fraction of the element's width."""
        x, y = self.point(selector, across=across)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def window(self, width: int, height: int) -> None:
        """Set the size of the viewport in pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def prefer(self, scheme: str) -> None:
        """Emulate a system theme: "light" or "dark"."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def requests(self) -> list[str]:
        """Return the URLs that the page has requested since `open`."""
        self.run("0")
        named = [each for each in self.events if each["method"] == "Network.requestWillBeSent"]
        return [each["params"]["request"]["url"] for each in named]

    def console_messages(self) -> list[object]:
        """Return console messages and exceptions since `open`."""
        self.run("0")
        names = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [each["params"] for each in self.events if each["method"] in names]

    def close(self) -> None:
        """Stop Chromium and its processes."""
        try:
            self._session = None
            self.call("Browser.close")
        finally:
            os.close(self._send)
            os.close(self._receive)
            try:
                self.process.wait(20)
            finally:
                self.process.kill()
                self.process.wait()


def _higher(fd: int) -> int:
    """Return a duplicate of a file descriptor with a number above 4."""
    copy = fcntl.fcntl(fd, fcntl.F_DUPFD, 10)
    os.close(fd)
    return copy
