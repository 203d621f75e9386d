"""Starts JupyterLab as compose.jupyter.yaml does, and asks it for its contents with and without the token."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import yaml

TOKEN = "only-for-this-check"
SECONDS = 60


def main() -> None:
    """Exit with a message unless the token, and only it, opens the door."""
    file = Path(__file__).resolve().parents[1] / "compose.jupyter.yaml"
    command = yaml.safe_load(file.read_text(encoding="utf-8"))["services"]["main"]["command"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # The address is narrowed, for here no container's network is around it.
    command = [word for word in command if not word.startswith(("--ip=", "--port="))]
    command += ["--ip=127.0.0.1", f"--port={port}"]
    server = subprocess.Popen(command, env={**os.environ, "JUPYTER_TOKEN": TOKEN})
    try:
        _wait(server, f"http://127.0.0.1:{port}/api")
        found = {token: _status(port, token) for token in (None, "wrong", TOKEN)}
    finally:
        server.terminate()
        server.wait()
    if found != {None: 403, "wrong": 403, TOKEN: 200}:
        sys.exit(f"JupyterLab answers none, a wrong and the right token with {list(found.values())}")
    print("JupyterLab: 403 without the token, 403 with a wrong one, 200 with the right one")


def _wait(server: subprocess.Popen[bytes], url: str) -> None:
    for _ in range(SECONDS * 4):
        try:
            urllib.request.urlopen(url).close()
        except OSError:
            time.sleep(0.25)
        else:
            return
        if server.poll() is not None:
            break
    sys.exit("JupyterLab did not start")


def _status(port: int, token: str | None) -> int:
    headers = {} if token is None else {"Authorization": f"token {token}"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/contents", headers=headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


if __name__ == "__main__":
    main()
