# shellcheck shell=bash
# Controller and agent as services: units where systemd is PID 1, a supervisor for each elsewhere.

unit_dir=/etc/systemd/system

pid_file() { printf '%s/%s.pid' "$run_dir" "$1"; }

# supervised SERVICE: whether its supervisor lives. A pid can be somebody else's by now, so the process's arguments are compared too.
supervised() {
	local pid
	local -a arguments
	[[ -r $(pid_file "$1") ]] || return 1
	read -r pid <"$(pid_file "$1")" || return 1
	[[ $pid =~ ^[0-9]+$ && -r /proc/$pid/cmdline ]] || return 1
	mapfile -d '' -t arguments <"/proc/$pid/cmdline" || return 1
	[[ " ${arguments[*]} " == *" $programs_dir/supervise $1 "* ]]
}

running() {
	if by_systemd; then systemctl is-active --quiet "coloa-$1.service"; else supervised "$1"; fi
}

start_service() {
	running "$1" && return 0
	if by_systemd; then
		# Not awaited here: the agent is ready only when libvirt answers, which may be never. Whoever needs a service waits for what it does.
		systemctl enable --quiet "coloa-$1.service"
		systemctl start --no-block "coloa-$1.service"
		return 0
	fi
	install -d -m 0750 -- "$log_dir"
	# tini reaps what a killed service leaves behind, where PID 1 does not. A session, streams and an environment of its own: the caller's may end, or hold secrets.
	env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/root \
		setsid tini -s -- "$programs_dir/supervise" "$1" "$programs_dir/coloa-$1" "$config_dir/$1.yaml" "$run_dir" "$log_dir" </dev/null >/dev/null 2>&1 8>&- &
	echo $! >"$(pid_file "$1")"
}

stop_service() {
	if by_systemd; then
		if [[ -e $unit_dir/coloa-$1.service ]]; then systemctl disable --quiet --now "coloa-$1.service"; fi
		return 0
	fi
	supervised "$1" || return 0
	local pid started=$SECONDS
	pid=$(<"$(pid_file "$1")")
	kill -TERM "$pid" 2>/dev/null || true
	while supervised "$1"; do
		((SECONDS - started < 60)) || die "the $1 did not end within 60 s; see $log_dir/$1.log"
		sleep 0.2
	done
	rm -f -- "$(pid_file "$1")"
}

# install_programs: puts the programs (and units) in their place. Prints the services whose program or unit has changed.
install_programs() {
	local service new
	install -d -m 0755 -- "$programs_dir"
	replace "$repository/deploy/single/supervise" "$programs_dir/supervise" || true
	for service in "${services[@]}"; do
		new=false
		if replace "$built_dir/coloa-$service" "$programs_dir/coloa-$service"; then new=true; fi
		if by_systemd && replace "$repository/deploy/single/systemd/coloa-$service.service" "$unit_dir/coloa-$service.service" 0644; then
			systemctl daemon-reload
			new=true
		fi
		if $new; then printf '%s\n' "$service"; fi
	done
}

# replace FROM TO [MODE]: true when TO is now new. By rename, because a program that runs cannot be written.
replace() {
	cmp -s -- "$1" "$2" && return 1
	install -m "${3:-0755}" -- "$1" "$2.new"
	mv -f -- "$2.new" "$2"
}

remove_programs() {
	local service
	if by_systemd; then
		for service in "${services[@]}"; do rm -f -- "$unit_dir/coloa-$service.service"; done
		systemctl daemon-reload
	fi
	rm -rf --one-file-system -- "$programs_dir"
}

# where_logs_are SERVICE: a command that shows them.
where_logs_are() {
	if by_systemd; then echo "journalctl -u coloa-$1"; else echo "$log_dir/$1.log"; fi
}
