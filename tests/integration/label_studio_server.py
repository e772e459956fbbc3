"""A real Label Studio on loopback, in a virtual environment and with data of its own."""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

SECONDS_TO_START = 900
# Nothing is told to, or asked of, anyone outside.
QUIET = {"COLLECT_ANALYTICS": "false", "LATEST_VERSION_CHECK": "false", "SENTRY_DSN": ""}


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        url: Its address.
        key: A personal access token of its owner.
        files: What it serves below ``/data/local-files``.
        owner: The owner's email and password.
    """

    url: str
    key: str
    files: Path
    owner: dict[str, str]

    def sign_up(self) -> str:
        """Another annotator's personal access token."""
        user = {"email": f"{secrets.token_hex(4)}@example.com", "password": secrets.token_hex(12)}
        return self._token("signup", user)

    def sign_in(self, email: str, password: str) -> str:
        """The owner's."""
        return self._token("login", {"email": email, "password": password})

    def _token(self, page: str, user: dict[str, str]) -> str:
        """As people get one: sign in with a browser, and press the button."""
        with requests.Session() as session:
            address = f"{self.url}/user/{page}/"
            found = re.search(r'csrfmiddlewaretoken" value="(\w+)"', session.get(address).text)
            assert found
            form = {**user, "csrfmiddlewaretoken": found[1], "allow_newsletters": "false"}
            headers = {"Referer": address}
            done = session.post(address, data=form, headers=headers, allow_redirects=False)
            assert done.status_code == 302, done.text
            headers["X-CSRFToken"] = session.cookies["csrftoken"]
            done = session.post(f"{self.url}/api/token/", headers=headers)
            assert done.status_code == 201, done.text
            return done.json()["token"]


def own_environment() -> dict[str, str]:
    """It runs in a Python of its own, which must not find this one's packages."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL"))}


def install(version: str, directory: Path) -> Path:
    """Its program, installed from PyPI; LABEL_STUDIO_VENV names an environment that has it."""
    ready = os.environ.get("LABEL_STUDIO_VENV")
    if ready:
        return Path(ready) / "bin" / "label-studio"
    python = os.environ.get("LABEL_STUDIO_PYTHON", "python3")
    subprocess.run([python, "-m", "venv", str(directory)], check=True)
    pip = [str(directory / "bin" / "python3"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, f"label-studio=={version}"], check=True, env=own_environment())
    return directory / "bin" / "label-studio"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Started for the tests, stopped and deleted after them."""
    version = os.environ.get("EGL_LABEL_STUDIO")
    if not version:
        pytest.skip("Label Studio is installed for it by: make label-studio")
    root = tmp_path_factory.mktemp("label_studio")
    program = install(version, root / "venv")
    (root / "files").mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    user = {"email": "owner@example.com", "password": secrets.token_hex(12)}
    environment = own_environment() | QUIET
    environment |= {
        "LABEL_STUDIO_BASE_DATA_DIR": str(root / "data"),
        "LABEL_STUDIO_USERNAME": user["email"],
        "LABEL_STUDIO_PASSWORD": user["password"],
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(root / "files"),
    }
    command = [str(program), "start", "--no-browser", "--internal-host", "127.0.0.1"]
    with (root / "server.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait(process, url, root / "server.log")
        key = Server(url, "", root, user).sign_in(**user)
        yield Server(url, key, root / "files", user)
    finally:
        stop(process)
        subprocess.run(["rm", "-rf", str(root)], check=True)


def stop(process: subprocess.Popen[bytes]) -> None:
    """With what it started."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Until it answers."""
    end = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < end and process.poll() is None:
        try:
            if requests.get(f"{url}/health", timeout=5).ok:
                return
        except requests.RequestException:
            time.sleep(1)
    raise AssertionError(f"Label Studio does not start:\n{log.read_text()[-3000:]}")
