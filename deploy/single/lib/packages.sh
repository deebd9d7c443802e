# shellcheck shell=bash
# Debian packages that are missing on this machine.

# missing_packages FILE...: of the lists (a package a line, # begins a comment) those that are not installed.
missing_packages() {
	local package
	grep -hv '^#' -- "$@" | while read -r package; do
		[[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || printf '%s\n' "$package"
	done
}

# install_packages PACKAGE...: a fresh machine has no package lists, or old ones; then they are fetched first.
install_packages() { apt_install "$@" || { apt-get -q -o DPkg::Lock::Timeout=300 update </dev/null && apt_install "$@"; }; }

# Configuration that somebody has written before the package came (/etc/libvirt/qemu.conf) stays; dpkg would ask, and nobody would answer.
# 8>&-: a daemon that a package starts must not keep our lock.
apt_install() {
	DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confdef \
		-o Dpkg::Options::=--force-confold install --no-install-recommends -- "$@" </dev/null 8>&-
}
