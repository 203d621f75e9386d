"""The image and the compose files are as docs/docker.md promises.

`scripts/check_docker.sh` builds the image, which takes longer.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from kikiwake.cli import app

PROJECT = Path(__file__).resolve().parents[1]
COMPOSE_FILES = ["compose.yaml", "compose.override.example.yaml", "compose.jupyter.yaml"]


def read(name: str) -> str:
    return (PROJECT / name).read_text(encoding="utf-8")


def service(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(read(name))["services"]["main"]
    return found


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions and their words, in order."""
    lines = "\n".join(line for line in read("docker/Dockerfile").splitlines() if not line.startswith("#"))
    whole = lines.replace("\\\n", " ").splitlines()
    return [(line.split()[0], " ".join(line.split()[1:])) for line in whole if line.strip()]


def position(instruction: str, words: str) -> int:
    (found,) = [
        index
        for index, (name, text) in enumerate(instructions())
        if name == instruction and re.search(words, text)
    ]
    return found


def reaches_the_image(path: str) -> bool:
    """Whether .dockerignore lets a path through; its last line that fits decides."""
    passes = True
    for line in read(".dockerignore").splitlines():
        pattern = line.removeprefix("!")
        parents = [path, *(str(parent) for parent in Path(path).parents)]
        if pattern and not line.startswith("#") and any(fits(parent, pattern) for parent in parents):
            passes = line.startswith("!")
    return passes


def fits(path: str, pattern: str) -> bool:
    """Whether a pattern of .dockerignore is that of a path: `*` stays in one folder, `**/` means in any."""
    if pattern.startswith("**/"):
        return fnmatch(path.rpartition("/")[2], pattern[3:])
    return path.count("/") == pattern.count("/") and fnmatch(path, pattern)


def compose() -> list[str]:
    """The command of Compose V2, or a skip where it is not installed."""
    if shutil.which("docker"):
        command = ["docker", "compose"]
        if subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0:
            return command
    pytest.skip("no docker compose here")


def test_the_base_image_is_pinned_to_a_release() -> None:
    assert instructions()[0][0] == "ARG"
    assert re.fullmatch(r"DEBIAN=\d+\.\d+-slim", instructions()[0][1])
    assert instructions()[1] == ("FROM", "debian:${DEBIAN}")


def test_the_image_is_installed_by_the_readmes_script_and_by_nothing_else() -> None:
    installing = [
        text for name, text in instructions() if name == "RUN" and re.search(r"install(\.sh)?\b", text)
    ]
    apt, torch, rest, folders = installing
    assert "apt-get install" in apt
    assert torch.endswith("scripts/install.sh torch")
    assert rest.endswith("scripts/install.sh")
    assert folders.startswith("install -d ")
    assert not [text for _, text in instructions() if re.search(r"\bpip3? install", text)]


def test_a_change_of_the_code_reinstalls_neither_torch_nor_the_other_packages() -> None:
    torch, rest = position("RUN", r"install\.sh torch$"), position("RUN", r"install\.sh$")
    assert torch < rest < position("COPY", r"^\. \.$")
    before_torch = [text for name, text in instructions()[:torch] if name == "COPY"]
    assert before_torch == ["requirements requirements", "scripts/install.sh scripts/"]
    before_rest = [text for name, text in instructions()[torch:rest] if name == "COPY"]
    assert before_rest == ["LICENSE pyproject.toml ./", "src/kikiwake/__init__.py src/kikiwake/"]


def test_what_the_dockerfile_sets_is_what_the_script_and_compose_know() -> None:
    arguments = {text.partition("=")[0] for name, text in instructions() if name == "ARG"}
    assert arguments == {"DEBIAN", "PACKAGES", "TORCH_INDEX", "EXTRAS"}
    script = read("scripts/install.sh")
    assert "$TORCH_INDEX" in script
    assert "$EXTRAS" in script
    for argument, value in service("compose.yaml")["build"]["args"].items():
        ours = next(text for name, text in instructions() if name == "ARG" and text.startswith(argument))
        assert value == f"${{{argument}-{ours.partition('=')[2].strip(chr(34))}}}"


def test_no_container_runs_as_root_unless_asked_to() -> None:
    users = [text for name, text in instructions() if name == "USER"]
    assert users == ["1000:1000"]
    assert service("compose.yaml")["user"] == "${KIKIWAKE_UID:-1000}:${KIKIWAKE_GID:-1000}"
    for name in COMPOSE_FILES[1:]:
        assert not {"user", "privileged", "cap_add"} & service(name).keys()


def test_every_cache_is_in_a_folder_that_any_user_can_write_to() -> None:
    (environment,) = [text for name, text in instructions() if name == "ENV"]
    places = dict(word.split("=", 1) for word in shlex.split(environment))
    writable = r"install -d -m 1777 /cache /home/anyone\b"
    assert position("RUN", writable) < position("USER", "")
    assert places["HOME"] == "/home/anyone"
    assert places["XDG_CACHE_HOME"] == "/cache"
    for name in ("HF_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR", "TORCH_HOME"):
        assert places[name].startswith("/cache/")


def test_recordings_and_recipes_cannot_be_changed_and_no_folder_is_made_by_root() -> None:
    mounts = {mount["target"]: mount for mount in service("compose.yaml")["volumes"]}
    assert mounts.keys() == {"/project/data", "/project/recipes", "/project/runs", "/cache"}
    assert [target for target, mount in mounts.items() if mount.get("read_only")] == [
        "/project/data",
        "/project/recipes",
    ]
    for mount in mounts.values():
        assert mount["type"] == "volume" or mount["bind"] == {"create_host_path": False}


def test_jupyterlab_is_published_on_loopback_only_and_never_without_a_token() -> None:
    for name in COMPOSE_FILES:
        for port in service(name).get("ports", []):
            assert port.startswith("127.0.0.1:")
        assert "network_mode" not in service(name)
    jupyter = service("compose.jupyter.yaml")
    assert jupyter["ports"]
    assert re.fullmatch(r"\$\{JUPYTER_TOKEN:\?.+\}", jupyter["environment"]["JUPYTER_TOKEN"])
    assert not re.search(r"token|password|allow-root", " ".join(jupyter["command"]))


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        ".git/config",
        ".venv/bin/python",
        "clips.csv",
        "compose.override.yaml",
        "data/a.wav",
        "demo/a.csv",
        "my_birds/a.wav",
        "runs/first/last.safetensors",
        "src/kikiwake/__pycache__/run.cpython-311.pyc",
    ],
)
def test_recordings_runs_and_tokens_stay_out_of_the_image(path: str) -> None:
    assert not reaches_the_image(path)


def test_everything_that_the_dockerfile_copies_reaches_the_builder() -> None:
    sources = [
        source
        for name, text in instructions()
        if name == "COPY"
        for source in text.split()[:-1]
        if source != "."
    ]
    assert sources
    for source in [*sources, "README.md", "src/kikiwake/recipes/demo.yaml", "compose.jupyter.yaml"]:
        assert (PROJECT / source).exists()
        assert reaches_the_image(source)


def test_the_commands_of_the_docker_page_are_commands_of_kikiwake() -> None:
    commands = typer.main.get_command(app)
    found = re.findall(r"^docker compose run --rm main kikiwake (.+)$", read("docs/docker.md"), re.MULTILINE)
    names = []
    for line in found:
        name, *arguments = shlex.split(line, comments=True)
        commands.commands[name].make_context(name, arguments)  # type: ignore[attr-defined]  # raises usage errors
        names.append(name)
    assert sorted(names) == ["crossval", "evaluate", "predict", "prepare", "train"]


def test_the_docker_page_names_every_variable_of_the_compose_files() -> None:
    variables = {name for file in COMPOSE_FILES for name in re.findall(r"\$\{(\w+)", read(file))}
    page = read("docs/docker.md")
    assert {name for name in variables if name not in page} == set()
    assert len(variables) > 5


def merged(*files: str, **environment: str) -> subprocess.CompletedProcess[str]:
    words = [word for file in files for word in ("-f", file)]
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER_", "KIKIWAKE_"))
    }
    return subprocess.run(
        [*compose(), "--env-file", "/dev/null", *words, "config", "--format", "json"],
        cwd=PROJECT,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_compose_merges_its_files_into_what_was_meant() -> None:
    finished = merged(*COMPOSE_FILES, JUPYTER_TOKEN="secret", KIKIWAKE_UID="4321", KIKIWAKE_GID="1234")
    assert finished.returncode == 0, finished.stderr
    main = json.loads(finished.stdout)["services"]["main"]
    assert main["user"] == "4321:1234"
    assert [(port["host_ip"], port["published"]) for port in main["ports"]] == [("127.0.0.1", "8888")]
    assert main["environment"]["JUPYTER_TOKEN"] == "secret"
    assert {mount["target"] for mount in main["volumes"] if not mount.get("read_only")} == {
        "/project/runs",
        "/cache",
    }


@pytest.mark.parametrize("environment", [{}, {"JUPYTER_TOKEN": ""}], ids=["no token", "an empty token"])
def test_compose_refuses_jupyterlab_without_a_token(environment: dict[str, str]) -> None:
    finished = merged("compose.yaml", "compose.jupyter.yaml", **environment)
    assert finished.returncode != 0
    assert "JUPYTER_TOKEN" in finished.stderr
    assert merged("compose.yaml", **environment).returncode == 0  # kikiwake itself needs none
