"""A headless Chromium that a test drives over pipes, and all that it complains about."""

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_OPTIONS = [
    "--headless",
    "--no-sandbox",  # needs no rights that a container lacks; only this test's own server is visited
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # nobody else is asked
    "--remote-debugging-pipe",
]
_SECONDS = 60  # for any answer of the browser: its start alone takes seconds where others work too


class Browser:
    """One page of a browser; ``complaints`` is what its console, its log and its policy said."""

    def __init__(self, process: subprocess.Popen[bytes], commands: int, answers: int) -> None:
        self.complaints: list[str] = []
        self._process = process
        self._commands = commands
        self._answers = answers
        self._unread = b""
        self._number = 0
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: object) -> Any:
        """Give a command of the DevTools protocol, and wait for its result."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        while (message := self._read()).get("id") != self._number:
            self._note(message)
        assert "error" not in message, message["error"]
        return message["result"]

    def open(self, url: str, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Load a page, in a window of this size."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        mobile = width < 600
        metrics = {"width": width, "height": height, "deviceScaleFactor": 2 if mobile else 1, "mobile": mobile}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def evaluate(self, expression: str) -> Any:
        """Return the value of some JavaScript; it may do what only a person's click may."""
        options = {"returnByValue": True, "awaitPromise": True, "userGesture": True}
        answer = self.call("Runtime.evaluate", expression=expression, **options)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, expression: str) -> None:
        """Wait until some JavaScript is true."""
        deadline = time.monotonic() + _SECONDS
        while not self.evaluate(expression):
            assert time.monotonic() < deadline, f"this did not become true: {expression}"
            time.sleep(0.02)

    def press(self, key: str, code: int, text: str = "", modifiers: int = 0) -> None:
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            names = {"key": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
            self.call("Input.dispatchKeyEvent", type=kind, **names, **more)

    def save_picture(self, path: Path) -> None:
        """Write the whole page as PNG."""
        picture = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(picture["data"]))

    def _read(self) -> dict[str, Any]:
        deadline = time.monotonic() + _SECONDS
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._answers], [], [], max(0, deadline - time.monotonic()))
            piece = os.read(self._answers, 2**20) if ready else b""
            assert piece, f"the browser said nothing in {_SECONDS} seconds, or ended: {self._process.poll()}"
            self._unread += piece
        message, _, self._unread = self._unread.partition(b"\0")
        document: dict[str, Any] = json.loads(message)
        return document

    def _note(self, message: dict[str, Any]) -> None:
        event, details = message.get("method"), message.get("params", {})
        if event == "Log.entryAdded":
            self.complaints.append(f"{details['entry']['level']}: {details['entry']['text']}")
        elif event == "Runtime.consoleAPICalled":
            self.complaints.append(f"console.{details['type']}: {details['args']}")
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(f"exception: {details['exceptionDetails']}")
        elif event == "Network.responseReceived" and details["response"]["status"] >= 400:
            self.complaints.append(f"{details['response']['status']} for {details['response']['url']}")


@contextmanager
def browsing(profile: Path) -> Iterator[Browser]:
    """Run a browser with its profile in a folder."""
    assert CHROMIUM
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    # The browser reads its file 3 and writes its file 4.
    script = f'exec 3<&{theirs_in} 4>&{theirs_out}; exec "$0" "$@"'
    command = ["bash", "-c", script, CHROMIUM, *_OPTIONS, f"--user-data-dir={profile}", "about:blank"]
    environment = {**os.environ, "HOME": str(profile), "XDG_CONFIG_HOME": str(profile), "XDG_CACHE_HOME": str(profile)}
    process = subprocess.Popen(
        command, pass_fds=(theirs_in, theirs_out), env=environment, stderr=subprocess.DEVNULL, start_new_session=True
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Browser(process, ours_out, ours_in)
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # with all its renderers
        process.wait()
        os.close(ours_out)
        os.close(ours_in)
