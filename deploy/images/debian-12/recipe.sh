# shellcheck shell=bash
# The recipe of debian-12: a cloud image with cloud-init, as Debian's own, made by mmdebstrap. Sourced by ../build.

DEBIAN_MEBIBYTES=2048
DEBIAN_UUID=c010a000-deb1-4012-8000-000000000001
DEBIAN_MIRROR=${COLOA_DEBIAN_MIRROR:-http://deb.debian.org/debian}
SECURITY_MIRROR=${COLOA_SECURITY_MIRROR:-http://deb.debian.org/debian-security}

top_packages() { grep -v '^#' "$RECIPES_DIR/debian-12/packages"; }

# Everything that apt would install on an empty system, so that a security update of any of it makes a new image.
recipe_packages() {
  local packages
  mapfile -t packages < <(top_packages)
  {
    printf '%s\n' "${packages[@]}"
    apt-get install -s -q --no-install-recommends -o Dir::State::status=/dev/null -- "${packages[@]}" 2>/dev/null | sed -n 's/^Inst \([^ ]*\) .*/\1/p'
  } | sort -u
}

recipe_tools() {
  printf '%s\n' debian-archive-keyring e2fsprogs fdisk grub-common mmdebstrap qemu-utils
}

# recipe_build WORK_FOLDER OUTPUT
recipe_build() {
  local work=$1 output=$2 tree=$1/tree
  [[ $EUID -eq 0 ]] || die "debian-12 can only be built by root (its packages' own scripts run in a chroot)"
  make_tree "$tree"
  make_boot_folder "$tree"
  make_disk "$work" "$tree"
  say "debian-12: compressing"
  qemu-img convert -f raw -O qcow2 -c -m 4 -W -o compat=1.1 -- "$work/disk.raw" "$output"
}

# make_tree FOLDER: an installed Debian, without anything that belongs to one machine only: no machine-id, host keys, passwords, logs.
make_tree() {
  local tree=$1
  # Without this answer grub-pc's own script fails, because it has no disk to write to.
  # shellcheck disable=SC2016  # mmdebstrap's shell fills in $1, the tree.
  local no_grub_device='printf "grub-pc grub-pc/install_devices_empty boolean true\n" | chroot "$1" debconf-set-selections'
  say "debian-12: installing packages (about a minute)"
  mmdebstrap --quiet --mode=root --variant=apt --format=directory \
    --include="$(top_packages | paste -sd,)" \
    --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt=force-unsafe-io \
    --essential-hook="$no_grub_device" \
    bookworm "$tree" \
    "deb $DEBIAN_MIRROR bookworm main" \
    "deb $DEBIAN_MIRROR bookworm-updates main" \
    "deb $SECURITY_MIRROR bookworm-security main" </dev/null >&2 9>&-

  cp -R -- "$RECIPES_DIR/debian-12/rootfs/." "$tree"
  printf 'UUID=%s / ext4 defaults,errors=remount-ro 0 1\n' "$DEBIAN_UUID" >"$tree/etc/fstab"
  printf 'debian\n' >"$tree/etc/hostname"
  printf 'LANG=C.UTF-8\n' >"$tree/etc/default/locale"
  printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' >"$tree/etc/hosts"
  ln -sf ../run/systemd/resolve/stub-resolv.conf "$tree/etc/resolv.conf"
  chroot "$tree" systemctl --quiet enable systemd-networkd systemd-resolved systemd-timesyncd ssh </dev/null 9>&-
  chroot "$tree" passwd --quiet --lock root </dev/null 9>&-

  : >"$tree/etc/machine-id"
  rm -f -- "$tree/var/lib/dbus/machine-id" "$tree"/etc/ssh/ssh_host_* "$tree/etc/dpkg/dpkg.cfg.d/99mmdebstrap" \
    "$tree/etc/apt/apt.conf.d/99mmdebstrap" "$tree/var/lib/systemd/random-seed"
  find "$tree/var/log" -type f -delete
}

# make_boot_folder TREE: what grub-install and update-grub would write; they want a block device, and there is none.
make_boot_folder() {
  local tree=$1
  mkdir -p -- "$tree/boot/grub/i386-pc"
  cp -- "$tree"/usr/lib/grub/i386-pc/*.{mod,lst} "$tree/boot/grub/i386-pc/"
  cp -- "$tree/usr/share/grub/unicode.pf2" "$tree/boot/grub/"
  sed "s/@UUID@/$DEBIAN_UUID/g" "$RECIPES_DIR/debian-12/grub.cfg" >"$tree/boot/grub/grub.cfg"
}

# make_disk WORK TREE: GPT; GRUB in its own small partition; then the root to the end of the disk, where growpart can lengthen it.
make_disk() {
  local work=$1 tree=$2 disk=$1/disk.raw
  : >"$work/empty.cfg"
  grub_core "$tree/usr/lib/grub/i386-pc" '(,gpt1)/boot/grub' "$work/empty.cfg" "$work/core.img" biosdisk part_gpt ext2
  # 4 MiB before the root, and 1 MiB behind it for the second copy of the partition table.
  make_ext4 "$work/root.ext4" $((DEBIAN_MEBIBYTES - 5)) debian-12 "$DEBIAN_UUID" "$tree"
  cp -- "$tree/usr/lib/grub/i386-pc/boot.img" "$work/"
  rm -rf --one-file-system -- "$tree"

  truncate -s "${DEBIAN_MEBIBYTES}M" -- "$disk"
  sfdisk --quiet -- "$disk" 9>&- <<TABLE
label: gpt
label-id: C010A000-DEB1-4012-8000-000000000002
14 : start=2048, size=6144, type=21686148-6449-6E6F-744E-656564454649, uuid=C010A000-DEB1-4012-8000-000000000003
1 : start=8192, size=$(((DEBIAN_MEBIBYTES - 5) * 2048)), type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, uuid=C010A000-DEB1-4012-8000-000000000004
TABLE
  write_at "$disk" 8192 <"$work/root.ext4"
  rm -f -- "$work/root.ext4"
  install_grub "$disk" "$work" "$work/core.img" 2048 6144
}
