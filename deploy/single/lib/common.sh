# shellcheck shell=bash disable=SC2034 # the names are used by those who source this
# Names, places and words that up, down and supervise share.
#
#   COLOA_PREFIX     where the cloud lives, an absolute path; empty: the machine itself (/etc/coloa, /var/lib/coloa, ...)
#   COLOA_PORT_BASE  the API's port; hosts, controllers and the agent take the next three (8443)
#   COLOA_ADDRESS    address or host name by which this server is reached (default: its primary address)
#   COLOA_BIN        folder with programs that are built already (default: they are built into bin/ of the repository)
#
# Every path and port comes from these, so that a second cloud (a test's) can live beside the first and touch nothing of it.

repository=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../../.." && pwd)
prefix=${COLOA_PREFIX:-}
port=${COLOA_PORT_BASE:-8443}

export LC_ALL=C.UTF-8
export PATH=$PATH:/usr/local/go/bin:/usr/sbin:/sbin
umask 022

config_dir=$prefix/etc/coloa
data_dir=$prefix/var/lib/coloa
run_dir=$prefix/run/coloa
log_dir=$prefix/var/log/coloa
programs_dir=$prefix/usr/local/lib/coloa # not bin/ in the repository: a clone that is deleted must not take the cloud with it
context=local${prefix:+-$port}           # in the user's configuration
built_dir=${COLOA_BIN:-$repository/bin}
cli=$built_dir/coloa
first_token=$run_dir/first-token # the one-time token between its making and its use, 0600
services=(controller agent)

# say LINE...: to people.
say() { printf '%s\n' "$@" >&2; }

die() {
	printf 'error: %s\n' "$*" >&2
	exit 1
}

check_environment() {
	[[ $EUID -eq 0 ]] || die "only root can bring up a server: run it with sudo"
	[[ -z $prefix || $prefix == /* ]] || die "COLOA_PREFIX is not an absolute path: $prefix"
	[[ $prefix != *[!a-zA-Z0-9/._-]* && $prefix != */../* && $prefix != */.. ]] || die "COLOA_PREFIX may hold letters, digits and / . _ - only: $prefix"
	[[ $port =~ ^[0-9]{1,5}$ && $port -ge 1 && $port -le 65532 ]] || die "COLOA_PORT_BASE is not a port from 1 to 65532: $port"
	[[ $(uname -m) == x86_64 ]] || die "only x86_64 is known; this is $(uname -m)"
	command -v apt-get dpkg-query >/dev/null || die "apt is missing: this needs Debian 12 or newer"
}

# Two bring-ups at once would tread on each other's files.
lock_server() {
	install -d -m 0755 -- "$run_dir"
	exec 8>"$run_dir/server.lock"
	flock -n 8 || die "another make up or make down is at work on this server; wait until it has ended"
}

# systemd runs the cloud of the machine itself. A second cloud is short-lived, and is not written into the machine's units.
by_systemd() { [[ -z $prefix && -d /run/systemd/system ]]; }

# as_caller COMMAND...: as the person who called sudo. What is made for that person (programs, the configuration with the context) must belong to that person.
as_caller() {
	local -a as=()
	if [[ -n ${SUDO_USER:-} && $SUDO_USER != root ]] && id -- "$SUDO_USER" >/dev/null 2>&1; then
		as=(setpriv --reuid "$SUDO_USER" --regid "$(id -g -- "$SUDO_USER")" --init-groups
			env "HOME=$(getent passwd -- "$SUDO_USER" | cut -d: -f6)" "USER=$SUDO_USER")
	fi
	"${as[@]}" "$@" 8>&- # the lock stays ours
}

# The command line, undisturbed by what the caller has set up for other clouds.
coloa() { as_caller env -u COLOA_ENDPOINT -u COLOA_TOKEN -u COLOA_CACERT -u COLOA_PROJECT -u COLOA_CONTEXT "$cli" "$@"; }

# ours ARGUMENTS...: the command line in this cloud's context. A question is answered at once or never; what takes longer says so itself (a second --timeout).
ours() { coloa --context "$context" --timeout 30s "$@"; }

# setting FILE KEY: a value of one of our flat configuration files.
setting() {
	[[ -r $1 ]] || return 0
	sed -n "s/^$2: *\"\{0,1\}\([^\"]*\)\"\{0,1\}\$/\1/p" -- "$1" | head -n 1
}

cluster_id() { setting "$config_dir/controller.yaml" cluster; }
endpoint() { setting "$config_dir/controller.yaml" api-endpoint; }
