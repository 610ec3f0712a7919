#!/usr/bin/env bash
# Builds the images hello-flask and autoencoder and pushes them to a registry.
# Needs docker, podman or buildah; runs from any folder. What can be told it by the environment:
#   REPOSITORY_URL  the registry, perhaps with a path: registry.example/team
#   TAG             the images' tag; the version in pyproject.toml unless given
#   BASE_IMAGE      another Python 3.11 image to build on, such as a mirror's
#   PIP_INDEX_URL, PIP_EXTRA_INDEX_URL
#                   where pip finds packages, such as PyTorch's index of small CPU-only wheels
set -euo pipefail

[ -n "${REPOSITORY_URL:-}" ] || REPOSITORY_URL=localhost:5000  # EDIT: your registry

say() { printf 'build.sh: %s\n' "$*"; }
fail() {
  printf 'build.sh: %s\n' "$*" >&2
  exit 1
}

# backend/build.sh is a link to this file; an editor may have turned it into a copy.
self=$(readlink -f "${BASH_SOURCE[0]}")
root=$(dirname "$self")
[ -f "$root/models/autoencoder/Dockerfile" ] || root=$(dirname "$root")
for file in Dockerfile models/autoencoder/Dockerfile pyproject.toml; do
  [ -f "$root/$file" ] || fail "$file is missing beside build.sh: run the build.sh of a complete checkout."
done

REPOSITORY_URL=${REPOSITORY_URL%/}
case $REPOSITORY_URL in
  *://*) fail "REPOSITORY_URL is a registry without http:// or https://, such as localhost:5000, not '$REPOSITORY_URL'." ;;
esac
host=${REPOSITORY_URL%%/*}
path=${REPOSITORY_URL#"$host"}
case ${host%:*} in
  localhost | 127.*) local_registry=true scheme=http ;;
  *) local_registry=false scheme=https ;;
esac

version=$(awk -F '"' '/^\[/ { project = ($0 == "[project]") } project && /^version *=/ { print $2; exit }' "$root/pyproject.toml")
TAG=${TAG:-$version}
[[ $TAG =~ ^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$ ]] ||
  fail "TAG is 1 to 128 letters, digits, '_', '.' or '-', and begins with none of the last two; not '$TAG'."

found=
tool=
for candidate in docker podman buildah; do
  command -v "$candidate" >/dev/null || continue
  found="$found $candidate"
  # A docker without its daemon, or one that this user may not talk to, cannot build.
  if "$candidate" info >/dev/null 2>&1; then
    tool=$candidate
    break
  fi
done
if [ -z "$found" ]; then
  fail "neither docker nor podman nor buildah is installed: install one of them."
elif [ -z "$tool" ]; then
  fail "cannot use$found: is the daemon running, and may this user talk to it? '${found##* } info' says more."
fi

case $tool in
  buildah) build=(buildah bud --layers) ;;
  *) build=("$tool" build) ;;
esac
push=("$tool" push)
if [ "$tool" != docker ]; then
  build+=(--format docker)  # the OCI format has no HEALTHCHECK
  if $local_registry; then push+=(--tls-verify=false); fi
fi
# The label a second time: buildah's layer cache gives back a LABEL with the value of an earlier build.
build+=(--build-arg "VERSION=$TAG" --label "org.opencontainers.image.version=$TAG")
for name in BASE_IMAGE PIP_INDEX_URL PIP_EXTRA_INDEX_URL; do
  if [ -n "${!name:-}" ]; then build+=(--build-arg "$name=${!name}"); fi
done

build_image() { # NAME FOLDER
  local image=$REPOSITORY_URL/$1:$TAG
  say "building $image with $tool"
  "${build[@]}" -t "$image" "$root/$2" ||
    fail "$image was not built; the lines above say why. (No way to the base image or the packages? BASE_IMAGE names another base.)"
}

push_image() { # NAME
  local image=$REPOSITORY_URL/$1:$TAG
  say "pushing $image"
  "${push[@]}" "$image" ||
    fail "$image was not pushed; the lines above say why. Does the registry answer ('curl $scheme://$host/v2/'), and does it want '$tool login $host' first?"
}

build_image hello-flask .
build_image autoencoder models/autoencoder
push_image hello-flask
push_image autoencoder

say "done. From a node of the cluster, these list $TAG:"
for name in hello-flask autoencoder; do
  printf '  curl -X GET %s://%s/v2%s/%s/tags/list\n' "$scheme" "$host" "$path" "$name"
done
