#!/usr/bin/env bash
# Makes the virtual environment .venv and installs kikiwake and all that its tests use.
# Needs Python 3.11 or newer. `install.sh torch` ends after torch, which an image keeps in a layer of its own.
#
# Environment variables: PYTHON, the Python to build on; TORCH_INDEX, where a certain build of torch is found
# (https://download.pytorch.org/whl/cpu), beside pip's own index; EXTRAS, more extras of pyproject.toml (jupyter).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '== %s\n' "$*"; }
stop() {
    printf 'kikiwake cannot be installed: %s\n' "$@" >&2
    exit 1
}
new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14}; do
        if command -v "$candidate" >/dev/null && new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    stop "${PYTHON:-python3} is $("${PYTHON:-python3}" --version 2>/dev/null || echo 'not there'), and Python 3.11 or newer is needed.
Debian 12 and Ubuntu 24.04 have it: sudo apt-get install python3 python3-venv
If it is there by another name: make demo PYTHON=python3.12"
}

# Debian packs the standard library's venv apart; without it there is no pip for the environment.
make_environment() {
    local python=$1 package
    if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
        package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
        if "$python" -m pip --version >/dev/null 2>&1 && "$python" -m venv --without-pip --clear .venv 2>/dev/null &&
            "$python" -m pip --python .venv/bin/python install --quiet pip; then
            return
        fi
        if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
            say "Python lacks its venv module: apt-get install $package"
            apt-get update -qq && apt-get install -y -qq "$package" >/dev/null
        else
            stop "Python lacks its venv module. Install it, then give the same command again:
    sudo apt-get install $package"
        fi
    fi
    "$python" -m venv --clear .venv
}

started=$SECONDS
if .venv/bin/python -m pip --version >/dev/null 2>&1 && new_enough .venv/bin/python; then
    say "Using the virtual environment .venv"
else
    python=$(find_python)
    say "Making the virtual environment .venv with $("$python" --version)"
    make_environment "$python"
fi

pip() { .venv/bin/python -m pip --disable-pip-version-check "$@"; }

say "Updating pip"
pip install --quiet --upgrade 'pip>=25.1'

# Together and first: packages that come later must find this pair, or they draw in another torch.
say "Installing torch and torchvision (the largest part: from 200 MB to some GB, depending on the build)"
# Of one version in two places pip takes the one with a local label, such as 2.13.0+cpu: the index that was named.
pip install --quiet --constraint requirements/constraints.txt \
    ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch torchvision
if [ "${1:-}" = torch ]; then
    exit
fi

say "Installing kikiwake, its extras and the tools of its tests (about a hundred packages: a minute or two)"
pip install --quiet --constraint requirements/constraints.txt \
    --editable ".[ffmpeg,onnx,tensorboard,wandb,embeddings,stems${EXTRAS:+,$EXTRAS}]" --group dev

say "Installed kikiwake $(.venv/bin/python -c 'import kikiwake; print(kikiwake.__version__)') in $((SECONDS - started)) s"
