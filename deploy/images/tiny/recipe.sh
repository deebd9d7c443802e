# shellcheck shell=bash
# The recipe of tiny: Debian's cloud kernel and busybox on one ext4 file system, started by GRUB. Sourced by ../build.

TINY_MEBIBYTES=64
TINY_UUID=c010a000-7111-4000-8000-000000000001

# What goes into the image. The libraries are those of resize2fs, which lets the file system grow with the disk.
recipe_packages() {
  kernel_package
  printf '%s\n' busybox-static grub-pc-bin e2fsprogs libext2fs2 libcom-err2 libc6
}

# What builds it.
recipe_tools() {
  printf '%s\n' cpio e2fsprogs fdisk grub-common kmod qemu-utils
  [[ $EUID -eq 0 ]] || printf '%s\n' fakeroot
}

# recipe_build WORK_FOLDER OUTPUT
recipe_build() {
  local work=$1 output=$2 unpacked=$1/unpacked root=$1/root release
  recipe_packages | unpack_packages "$unpacked"
  release=$(basename -- "$(echo "$unpacked"/lib/modules/*)")

  make_root "$unpacked" "$root" "$release"
  make_initramfs "$unpacked" "$work/initramfs" "$release"
  (cd -- "$work/initramfs" && find . -print0 | sort -z | cpio --quiet --null --create --format=newc --reproducible --owner=+0:+0) \
    | gzip -n9 >"$root/boot/initrd"
  install -m 644 -- "$unpacked/boot/vmlinuz-$release" "$root/boot/vmlinuz"
  make_disk "$work" "$unpacked/usr/lib/grub/i386-pc" "$root"
  qemu-img convert -f raw -O qcow2 -c -o compat=1.1 -- "$work/disk.raw" "$output"
}

# make_root UNPACKED ROOT RELEASE: the file system that the guest lives on; everything in it survives a reboot.
make_root() {
  local unpacked=$1 root=$2 release=$3 library link
  mkdir -p -- "$root"/{bin,boot,dev,etc,lib/x86_64-linux-gnu,lib64,mnt,proc,root,run,sbin,sys,tmp,usr/bin,usr/sbin,var/lib/coloa,var/log}
  chmod 700 -- "$root/root"
  chmod 1777 -- "$root/tmp"
  cp -R -- "$RECIPES_DIR/tiny/rootfs/." "$root"
  find "$root" -type d ! -path "$root/tmp" ! -path "$root/root" -exec chmod 755 {} +
  find "$root" -type f -exec chmod 644 {} +
  chmod 755 -- "$root"/sbin/* "$root/etc/acpi/PWRF/00000080" "$root/usr/share/udhcpc/default.script"

  for link in poweroff reboot halt; do
    ln -s coloa-leave "$root/sbin/$link"
  done
  install_busybox "$unpacked" "$root"
  install -m 755 -- "$unpacked/sbin/resize2fs" "$root/sbin/"
  for library in libe2p.so.2 libext2fs.so.2 libcom_err.so.2 libc.so.6; do
    install -m 644 -- "$unpacked/lib/x86_64-linux-gnu/$library" "$root/lib/x86_64-linux-gnu/"
  done
  install -m 755 -- "$unpacked/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" "$root/lib64/"
  copy_modules "$unpacked" "$root" "$release" root
  date -u -d "@$SOURCE_DATE_EPOCH" '+%Y-%m-%d %H:%M:%S' >"$root/etc/image-date"
  find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}

# make_initramfs UNPACKED FOLDER RELEASE: just enough to find the disk, grow its partition and go there.
make_initramfs() {
  local unpacked=$1 folder=$2 release=$3
  mkdir -p -- "$folder"/{bin,dev,etc,proc,root,sbin,sys}
  install_busybox "$unpacked" "$folder"
  install -m 755 -- "$RECIPES_DIR/tiny/initramfs-init" "$folder/init"
  copy_modules "$unpacked" "$folder" "$release" initramfs
  find "$folder" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}

# Links are made at build time: "busybox --install" at each boot would cost time.
install_busybox() {
  local unpacked=$1 root=$2 applet
  install -m 755 -- "$unpacked/bin/busybox" "$root/bin/busybox"
  "$unpacked/bin/busybox" --list-full | while IFS= read -r applet; do
    [[ $applet == */* ]] || applet=bin/$applet
    [[ -e $root/$applet ]] && continue
    mkdir -p -- "$(dirname -- "$root/$applet")"
    ln -s /bin/busybox "$root/$applet"
  done
}

# copy_modules UNPACKED TARGET RELEASE WHERE: the kernel modules that the list "modules" names for WHERE, and all that they need.
copy_modules() {
  local unpacked=$1 target=$2 release=$3 where=$4 module path
  [[ -f $unpacked/lib/modules/$release/modules.dep ]] || depmod -b "$unpacked" "$release"
  while read -r module; do
    modprobe -d "$unpacked" -S "$release" --show-depends -- "$module" | while read -r _ path _; do
      printf '%s\n' "${path#"$unpacked"/}"
    done || die "the kernel package has no module $module"
  done < <(awk -v where="$where" '!/^#/ && $1 == where { print $2 }' "$RECIPES_DIR/tiny/modules") | sort -u | while read -r path; do
    install -D -m 644 -- "$unpacked/$path" "$target/$path"
  done
  install -m 644 -- "$unpacked/lib/modules/$release"/modules.{order,builtin,builtin.modinfo} "$target/lib/modules/$release/"
  depmod -b "$target" "$release"
}

# make_disk WORK GRUB_MODULES ROOT: MBR, GRUB in the gap behind it, one partition from 1 MiB to the end.
# linux16 starts the kernel through its 16-bit entry, as a BIOS does; measured under TCG, that is 1.5 s faster than the 32-bit one.
make_disk() {
  local work=$1 grub=$2 root=$3 disk=$1/disk.raw
  cp -- "$RECIPES_DIR/tiny/grub.cfg" "$work/grub.cfg"
  grub_core "$grub" '(,msdos1)/boot/grub' "$work/grub.cfg" "$work/core.img" biosdisk part_msdos ext2 linux16
  make_ext4 "$work/root.ext4" $((TINY_MEBIBYTES - 1)) coloa-tiny "$TINY_UUID" "$root"
  truncate -s "${TINY_MEBIBYTES}M" -- "$disk"
  printf 'label: dos\nlabel-id: 0xc010a001\nstart=2048, type=83, bootable\n' | sfdisk --quiet -- "$disk" 9>&-
  write_at "$disk" 2048 <"$work/root.ext4"
  install_grub "$disk" "$grub" "$work/core.img" 1 2047
}
