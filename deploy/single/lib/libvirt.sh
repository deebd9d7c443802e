# shellcheck shell=bash
# Who needs libvirt. It is shared by all clouds and tests of a machine; the last one that leaves stops it, if one of them started it.

libvirt_run_dir=/run/coloa # whatever the prefix
lease_dir=$libvirt_run_dir/libvirt.users
started_here=$libvirt_run_dir/libvirt.started
hostservices=$repository/deploy/hostservices/ensure-libvirtd

# A lease says what proves that its holder is still there: a path that exists, or a process.
lease_name() { printf '%s' "$1" | sha256sum | cut -c 1-16; }

# The lock is on the folder itself, so that no lock file stays behind.
with_lease_lock() {
	install -d -m 0755 -- "$lease_dir"
	(
		exec 7<"$libvirt_run_dir"
		flock 7
		install -d -m 0755 -- "$lease_dir" # the one before us may have removed it
		"$@" 7>&- 8>&-
	)
}

libvirt_acquire() { # libvirt_acquire path:/etc/coloa | pid:123
	with_lease_lock acquire_locked "$1"
}

acquire_locked() {
	if ! "$hostservices" status >/dev/null 2>&1; then : >"$started_here"; fi
	"$hostservices"
	printf '%s\n' "$1" >"$lease_dir/$(lease_name "$1")"
}

libvirt_release() { with_lease_lock release_locked "$1"; }

release_locked() {
	rm -f -- "$lease_dir/$(lease_name "$1")"
	forget_the_dead
	if [[ -n $(ls -A -- "$lease_dir") ]]; then
		say "libvirt stays: others on this machine use it"
		return 0
	elif [[ -e $started_here ]]; then
		"$hostservices" stop
		rm -f -- "$started_here"
	else
		say "libvirt stays: it ran before"
	fi
	rmdir -- "$lease_dir"
}

forget_the_dead() {
	local lease holder
	for lease in "$lease_dir"/*; do
		[[ -f $lease ]] || continue
		holder=$(<"$lease")
		case $holder in
		path:*) [[ -e ${holder#path:} ]] || rm -f -- "$lease" ;;
		pid:*) kill -0 "${holder#pid:}" 2>/dev/null || rm -f -- "$lease" ;;
		*) rm -f -- "$lease" ;;
		esac
	done
}

# A libvirt that is stuck (a guest on a dead disk) must not hang us.
virsh_system() { timeout 60 virsh -q -c qemu:///system "$@"; }

# domains_of CLUSTER: UUIDs of the domains that a cloud has made on this machine, by what our agent wrote into them.
domains_of() {
	local uuid text
	for uuid in $(virsh_system list --all --uuid); do
		text=$(virsh_system metadata "$uuid" --uri https://coloa.cloud/libvirt/machine/1 2>/dev/null) || continue
		if [[ $text == *"<cluster>$1</cluster>"* ]]; then printf '%s\n' "$uuid"; fi
	done
}

# remove_domain UUID: ends a guest and forgets it, with what libvirt has logged of it.
remove_domain() {
	local name log
	name=$(virsh_system domname "$1" | head -n 1)
	virsh_system destroy "$1" >/dev/null 2>&1 || true # it may not run
	virsh_system undefine "$1" --managed-save --nvram >/dev/null
	[[ $name =~ ^coloa-[0-9a-f-]+$ ]] || return 0
	for log in "/var/log/libvirt/qemu/$name.log"{,.0,.1,.2}; do rm -f -- "$log"; done
}
