# shellcheck shell=bash
# Words and places that every part of the image build shares.

BUILD_DIR=${COLOA_BUILD_DIR:-$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../../.." && pwd)/build}
export IMAGES_DIR=$BUILD_DIR/images
export CACHE_DIR=$BUILD_DIR/cache/images

# One fixed time for every file we make: the same inputs give the same files, whenever and wherever they are built.
# (Not quite the same image: ext4 also stores when mke2fs read each file.)
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-1735689600}
export E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH
export LC_ALL=C TZ=UTC
# Administrators' tools (sfdisk, mke2fs, depmod) are outside an ordinary user's path.
export PATH=$PATH:/usr/sbin:/sbin
umask 022

say() { printf '%s\n' "$*" >&2; }

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# as_root COMMAND...: runs it so that files it reads belong to root, really or (for an ordinary user) as fakeroot pretends.
as_root() {
  if [[ $EUID -eq 0 ]]; then "$@"; else fakeroot -- "$@"; fi
}

# source_digest FOLDER NAME: one digest over everything in the repository that goes into the image NAME.
source_digest() (
  cd -- "$1" || exit 1
  find build lib "$2" -type f -printf '%p %m\n' | sort
  find build lib "$2" -type f -print0 | sort -z | xargs -0 sha256sum --
)

# describe_image FILE: its size on disk and as the guest sees it.
describe_image() {
  local file_bytes virtual_bytes
  file_bytes=$(stat -c %s -- "$1")
  virtual_bytes=$(qemu-img info --output=json -- "$1" | sed -n 's/^    "virtual-size": \([0-9]*\),*$/\1/p')
  printf '%d MiB, %d MiB for the guest' "$((file_bytes >> 20))" "$((virtual_bytes >> 20))"
}
