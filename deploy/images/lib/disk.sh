# shellcheck shell=bash
# Disks made as plain files: no loop devices, no mounts, no device-mapper. Partitions are written at their offsets.

# write_at FILE OFFSET_SECTORS < data: puts stdin at a sector (512 bytes) of FILE, leaving the rest, and holes, as they are.
write_at() {
  dd of="$1" bs=512 seek="$2" conv=notrunc,sparse iflag=fullblock status=none
}

# make_ext4 FILE MEBIBYTES LABEL UUID TREE: a file system that holds a copy of TREE and can grow later while mounted.
# Two features are off because GRUB 2.06 refuses to read a file system that has them.
make_ext4() {
  local file=$1 mebibytes=$2 label=$3 uuid=$4 tree=$5
  truncate -s "${mebibytes}M" -- "$file"
  as_root mke2fs -q -t ext4 -b 4096 -m 1 -O '^orphan_file,^metadata_csum_seed' \
    -L "$label" -U "$uuid" -E "hash_seed=$uuid,root_owner=0:0,lazy_itable_init=1" -d "$tree" -- "$file" 9>&-
}

# grub_core MODULES_FOLDER PREFIX CONFIG OUTPUT MODULE...: a GRUB that carries CONFIG and the given modules inside.
# A PREFIX that begins with a comma, as (,gpt1)/boot/grub, is looked for on the disk that the BIOS booted from.
grub_core() {
  local folder=$1 prefix=$2 config=$3 output=$4
  shift 4
  grub-mkimage -O i386-pc -d "$folder" -p "$prefix" -c "$config" -o "$output" "$@"
}

# install_grub DISK MODULES_FOLDER CORE SECTOR LIMIT: makes DISK boot by the BIOS from CORE, put at SECTOR; CORE may take LIMIT sectors.
# grub-install wants a block device, so its two patches are done here:
# - boot.img holds at 0x5c the sector of CORE, and at 0x66 a jump that works around BIOSes which confuse floppies and disks;
# - CORE's first sector ends with the list of its other sectors (start, count, segment), of which the start has to be filled in.
# Bytes 440-511 of the disk, the disk's identity and its partition table, stay as they are.
install_grub() {
  local disk=$1 folder=$2 core=$3 sector=$4 limit=$5 boot sectors
  sectors=$((($(stat -c %s -- "$core") + 511) / 512))
  [[ $sectors -le $limit ]] || die "GRUB takes $sectors sectors and only $limit are free for it"
  boot=$(mktemp)
  head -c 440 -- "$folder/boot.img" >"$boot"
  little_endian 8 "$sector" | dd of="$boot" bs=1 seek=$((0x5c)) conv=notrunc status=none
  printf '\x90\x90' | dd of="$boot" bs=1 seek=$((0x66)) conv=notrunc status=none
  dd if="$boot" of="$disk" bs=1 conv=notrunc status=none
  rm -f -- "$boot"
  write_at "$disk" "$sector" <"$core"
  little_endian 8 $((sector + 1)) | dd of="$disk" bs=1 seek=$((sector * 512 + 0x1f4)) conv=notrunc status=none
}

# little_endian BYTES NUMBER: the number as that many bytes, lowest first.
little_endian() {
  local count=$1 number=$2 escapes=''
  for ((; count > 0; count--)); do
    escapes+=$(printf '\\x%02x' $((number & 255)))
    number=$((number >> 8))
  done
  printf '%b' "$escapes"
}
