"""Chromium without a window, driven over chromedriver's own protocol."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
ENTER = "\ue007"

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,900",
)


def missing() -> str:
    """Why no browser can be used; empty when one can."""
    absent = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"{' and '.join(absent)} not installed" if absent else ""


class Browser:
    """One window."""

    def __init__(self, address: str, session: str) -> None:
        self._base = f"{address}/session/{session}"

    def open(self, url: str) -> None:
        """Load a page; returns when it is loaded."""
        _post(f"{self._base}/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """The value that a function's body returns in the page."""
        return _post(f"{self._base}/execute/sync", {"script": script, "args": list(arguments)})

    def click(self, selector: str) -> None:
        """Click an element as a user does: it must be visible and not covered."""
        _post(f"{self._base}/element/{self._find(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        """Type into an element."""
        _post(f"{self._base}/element/{self._find(selector)}/value", {"text": text})

    def text(self, selector: str) -> str:
        """The visible text of an element."""
        return str(_get(f"{self._base}/element/{self._find(selector)}/text"))

    def console(self) -> list[str]:
        """What came to the console since the last time, errors of the browser included."""
        return [entry["message"] for entry in _post(f"{self._base}/se/log", {"type": "browser"})]

    def prefer(self, scheme: str) -> None:
        """Make the system's theme `light` or `dark`."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        command = {"cmd": "Emulation.setEmulatedMedia", "params": {"features": features}}
        _post(f"{self._base}/goog/cdp/execute", command)

    def screenshot(self, path: Path) -> None:
        """Save what the window shows."""
        path.write_bytes(base64.b64decode(_get(f"{self._base}/screenshot")))

    def _find(self, selector: str) -> str:
        return str(
            _post(f"{self._base}/element", {"using": "css selector", "value": selector})[ELEMENT]
        )


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """A browser with a profile of its own, closed at the end."""
    with subprocess.Popen(
        ["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True
    ) as driver:
        try:
            address = f"http://127.0.0.1:{_port(driver)}"
            options = {"args": [*FLAGS, f"--user-data-dir={profile}"]}
            wanted = {
                "browserName": "chrome",
                "goog:chromeOptions": options,
                "goog:loggingPrefs": {"browser": "ALL"},
            }
            session = _post(f"{address}/session", {"capabilities": {"alwaysMatch": wanted}})[
                "sessionId"
            ]
            try:
                yield Browser(address, session)
            finally:
                _send("DELETE", f"{address}/session/{session}", None)
        finally:
            driver.terminate()


def _port(driver: subprocess.Popen[str]) -> int:
    assert driver.stdout is not None
    for line in driver.stdout:
        if "started successfully on port" in line:
            return int(line.rstrip(".\n").rpartition(" ")[2])
    raise RuntimeError("chromedriver did not start")


def _get(url: str) -> Any:
    return _send("GET", url, None)


def _post(url: str, body: dict[str, Any]) -> Any:
    return _send("POST", url, body)


def _send(method: str, url: str, body: dict[str, Any] | None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
        request, timeout=120
    ) as answer:
        return json.load(answer)["value"]
