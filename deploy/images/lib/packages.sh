# shellcheck shell=bash
# Debian packages: tools installed on this machine, and packages that are only downloaded and unpacked into an image.

# need_packages: reads package names on stdin and installs those that are missing. An ordinary user is told what to install.
need_packages() {
  local wanted missing=() package
  mapfile -t wanted
  for package in "${wanted[@]}"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
  done
  [[ ${#missing[@]} -gt 0 ]] || return 0
  [[ $EUID -eq 0 ]] || die "missing packages; as root run: apt-get install --no-install-recommends ${missing[*]}"
  say "installing: ${missing[*]}"
  apt_install "${missing[@]}" || { apt_update && apt_install "${missing[@]}"; } || die "apt could not install: ${missing[*]}"
}

# 9>&- keeps the build lock from being inherited by anything that a package starts.
apt_install() { DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends -- "$@" >/dev/null </dev/null 9>&-; }

apt_update() {
  [[ $EUID -eq 0 ]] || die "apt's lists are missing or old; as root run: apt-get update"
  apt-get update -qq </dev/null >&2 9>&-
}

# need_lists: a fresh machine has no package lists yet; then they are fetched.
need_lists() { candidate_versions linux-image-cloud-amd64 >/dev/null || apt_update; }

# package_versions: reads package names on stdin, prints "name=version" of what apt would fetch, in order.
package_versions() {
  local packages
  mapfile -t packages
  candidate_versions "${packages[@]}"
}

# One call of apt for all names; an unknown name leaves its line out, which shows in the count.
candidate_versions() {
  local lines
  lines=$(apt-cache policy -- "$@" 2>/dev/null | awk '/^[^ ]/ { sub(/:$/, ""); name = $0 } $1 == "Candidate:" && $2 != "(none)" { print name "=" $2 }')
  [[ $(grep -c . <<<"$lines") -eq $# ]] || return 1
  printf '%s\n' "$lines"
}

# kernel_package: the package that the meta-package linux-image-cloud-amd64 stands for today.
kernel_package() {
  local package
  package=$(apt-cache depends --important -- linux-image-cloud-amd64 2>/dev/null | sed -n 's/^  Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1)
  printf '%s\n' "${package:-linux-image-cloud-amd64}"
}

# unpack_packages FOLDER: reads package names on stdin, downloads each once (kept in CACHE_DIR) and unpacks all into FOLDER.
unpack_packages() {
  local folder=$1 packages package
  mapfile -t packages
  mkdir -p -- "$folder"
  for package in "${packages[@]}"; do
    dpkg-deb -x "$(download_package "$package")" "$folder"
  done
}

# download_package NAME: prints the path of its .deb file.
download_package() {
  local versioned file
  versioned=$(candidate_versions "$1") || die "apt does not know the package $1"
  file=$CACHE_DIR/${versioned//[^A-Za-z0-9.+~=-]/_}.deb
  if [[ ! -f $file ]]; then
    fetch_package "$versioned" "$file" || { apt_update && fetch_package "$(candidate_versions "$1")" "$file"; } \
      || die "cannot download $versioned: check the network and /etc/apt/sources.list"
    find "$CACHE_DIR" -maxdepth 1 -name "$1=*.deb" ! -path "$file" -delete
  fi
  printf '%s\n' "$file"
}

# apt checks the archive's signature and the file's hash; the file gets its name only when it is whole.
fetch_package() (
  scratch=$(mktemp -d -- "$CACHE_DIR/.download.XXXXXX")
  trap 'rm -rf -- "$scratch"' EXIT
  cd -- "$scratch" || exit 1
  apt-get download -qq -o APT::Sandbox::User=root -- "$1" >&2
  mv -- ./*.deb "$2"
)
