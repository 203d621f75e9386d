#!/usr/bin/env bash
# Checks the image and the compose files without a Docker engine: the linters and `docker compose config`, then the
# Dockerfile itself, built by buildah in chroots on a Debian tree fresh from debootstrap, then what is in it.
#
#   sudo apt-get install buildah debootstrap shellcheck
#   sudo scripts/check_docker.sh            # a quarter of an hour, 15 GB of disk
#
# What needs a tool that is not installed (shellcheck, hadolint, docker compose) is left out, and said at the end.
# What stands behind the command goes to `buildah build`, for example a --volume with the settings of a package mirror.
# TORCH_INDEX is empty unless set: pip's own torch is taken, so that the check needs no second index.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '\n== %s\n' "$*"; }
work=$(mktemp -d)
# Images have a place of their own: what is called Debian here is not Docker's.
export CONTAINERS_STORAGE_CONF=$work/storage.conf BUILDAH_ISOLATION=chroot
cat >"$CONTAINERS_STORAGE_CONF" <<END
[storage]
driver = "vfs"
graphroot = "/var/tmp/kikiwake-check"
runroot = "/run/kikiwake-check"
END
clean() {
    if [ -d /var/tmp/kikiwake-check ]; then
        buildah rm --all >/dev/null
        buildah rmi --all --force >/dev/null
    fi
    rm -rf --one-file-system "$work"
}
trap clean EXIT
left_out=()
have() {
    command -v "$1" >/dev/null && return
    left_out+=("$2: no $1 here")
    return 1
}

say "Scripts, Dockerfile and compose files"
if have shellcheck "scripts"; then
    shellcheck scripts/*.sh .ci/run
fi
if have hadolint "style of the Dockerfile"; then
    hadolint docker/Dockerfile
fi
if docker compose version >/dev/null 2>&1; then
    docker compose -f compose.yaml config --quiet
    docker compose -f compose.yaml -f compose.override.example.yaml config --quiet
    JUPYTER_TOKEN=check docker compose -f compose.yaml -f compose.jupyter.yaml config --quiet
    if JUPYTER_TOKEN='' docker compose -f compose.yaml -f compose.jupyter.yaml config --quiet 2>/dev/null; then
        printf 'JupyterLab would start without a token\n' >&2
        exit 1
    fi
else
    left_out+=("compose files: no docker compose here")
fi

# The image that FROM names, made from Debian's archive instead of pulled: the same release, the same few packages.
make_base() {
    local release=$1 tree=$work/tree container
    debootstrap --variant=minbase bookworm "$tree" >"$work/debootstrap.log"
    if [ "$(cat "$tree/etc/debian_version")" != "${release%-slim}" ]; then
        printf 'docker/Dockerfile names Debian %s, the archive has %s\n' \
            "$release" "$(cat "$tree/etc/debian_version")" >&2
        exit 1
    fi
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$tree" / >/dev/null
    buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
    buildah commit --quiet --rm "$container" "docker.io/library/debian:$release" >/dev/null
    rm -rf "$tree"
}

check_image() {
    local container user
    say "Base image from Debian's archive"
    make_base "$(sed -n 's/^ARG DEBIAN=//p' docker/Dockerfile)"

    say "Building docker/Dockerfile"
    buildah build --pull-never --file docker/Dockerfile --build-arg "TORCH_INDEX=${TORCH_INDEX-}" \
        --tag kikiwake:check "$@" .

    container=$(buildah from --pull-never localhost/kikiwake:check)
    run() { buildah run --user "$@"; }
    for user in 1000:1000 54321:54321; do
        say "As user $user, without a home"
        run "$user" "$container" -- env -u HOME -u USER kikiwake --help >/dev/null
        run "$user" --env HOME=/nonexistent "$container" -- kikiwake recipes
    done
    say "JupyterLab"
    run "$user" "$container" -- python /opt/kikiwake/scripts/check_jupyter.py
    say "The commands of docs/docker.md"
    try_commands "$user"
}

# Runs what docs/docker.md shows, on sounds made for it, with the folders that compose.yaml mounts.
try_commands() {
    local user=$1 data=$work/data runs=$work/runs command
    install -d -m 777 "$runs"
    run "$user" --volume "$runs:/project/runs" "$container" -- \
        kikiwake synthesise runs/sounds --clips-per-class 10 --long-seconds 60
    install -d "$data"
    mv "$runs/sounds/clips" "$data/birds"
    mv "$runs/sounds/long" "$data/night"
    while read -r command; do
        printf '\n$ %s\n' "$command"
        run "$user" --volume "$data:/project/data:ro" --volume "$runs:/project/runs" \
            "$container" -- bash -c "$command" </dev/null
    done < <(sed -n 's/^docker compose run --rm main \([^#]*\).*/\1/p' docs/docker.md)
}

if [ "$(id -u)" -ne 0 ]; then
    left_out+=("the image: only root can make trees and chroots")
elif have debootstrap "the image" && have buildah "the image"; then
    check_image "$@"
fi

say "Checked in $SECONDS s; left out: ${#left_out[@]}"
for reason in "${left_out[@]}"; do
    printf '  %s\n' "$reason"
done
