#!/usr/bin/env bash
# build.sh [NAME ...]: builds images and pushes them to a registry; without a name, all of them:
# hello-flask and every model, a folder of models/ with a Dockerfile.
# Needs docker, podman or buildah; runs from any folder. Environment variables:
#   REPOSITORY_URL  the registry, optionally with a path: registry.example/team
#   TAG             tag of the images (the version in backend/__init__.py)
#   BASE_IMAGE      another Python 3.11 image to build on, such as that of a mirror
#   PIP_INDEX_URL, PIP_EXTRA_INDEX_URL
#                   where pip finds packages, such as PyTorch's index of CPU-only wheels
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
for file in Dockerfile models/autoencoder/Dockerfile backend/__init__.py; do
  [ -f "$root/$file" ] || fail "$file is missing beside build.sh: run the build.sh of a complete checkout."
done

images=(hello-flask)
for file in "$root"/models/*/Dockerfile; do
  model=${file%/Dockerfile}
  images+=("${model##*/}")
done
for name; do
  [[ " ${images[*]} " == *" $name "* ]] || fail "there is no image '$name': choose from ${images[*]}."
done
if [ $# -gt 0 ]; then images=("$@"); fi

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

TAG=${TAG:-$(awk -F '"' '/^__version__ = / { print $2 }' "$root/backend/__init__.py")}
[[ $TAG =~ ^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$ ]] ||
  fail "TAG is 1 to 128 letters, digits, '_', '.' or '-', and does not begin with '.' or '-'; not '$TAG'."

found=
tool=
for candidate in docker podman buildah; do
  command -v "$candidate" >/dev/null || continue
  found="$found $candidate"
  # docker may be installed without a daemon, or without access to it for this user.
  if "$candidate" info >/dev/null 2>&1; then
    tool=$candidate
    break
  fi
done
if [ -z "$found" ]; then
  fail "neither docker nor podman nor buildah is installed: install one of them."
elif [ -z "$tool" ]; then
  fail "cannot use$found: is the daemon running, and may this user access it? '${found##* } info' shows the error."
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
# The label again: a LABEL in buildah's layer cache keeps the value of an earlier build.
build+=(--build-arg "VERSION=$TAG" --label "org.opencontainers.image.version=$TAG")
for name in BASE_IMAGE PIP_INDEX_URL PIP_EXTRA_INDEX_URL; do
  if [ -n "${!name:-}" ]; then build+=(--build-arg "$name=${!name}"); fi
done

build_image() { # NAME
  local image=$REPOSITORY_URL/$1:$TAG source=("$root/.")
  # Models share the files of models/common, so that they are built in the folder above their own.
  if [ "$1" != hello-flask ]; then source=(-f "$root/models/$1/Dockerfile" "$root/models"); fi
  say "building $image with $tool"
  "${build[@]}" -t "$image" "${source[@]}" ||
    fail "$image was not built; see the error above. (If the base image cannot be pulled, set BASE_IMAGE to that of a mirror.)"
}

push_image() { # NAME
  local image=$REPOSITORY_URL/$1:$TAG
  say "pushing $image"
  "${push[@]}" "$image" ||
    fail "$image was not pushed; see the error above. Does the registry answer ('curl $scheme://$host/v2/'), and does it require '$tool login $host'?"
}

for name in "${images[@]}"; do build_image "$name"; done
for name in "${images[@]}"; do push_image "$name"; done

say "done. From a node of the cluster, these commands list $TAG:"
for name in "${images[@]}"; do
  printf '  curl -X GET %s://%s/v2%s/%s/tags/list\n' "$scheme" "$host" "$path" "$name"
done
