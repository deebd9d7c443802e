# shellcheck shell=bash
# Steps with their seconds, and what is said when one fails.

step_log=$log_dir/up.log
step_name=
step_done=0
step_began=0
all_began=$(date +%s%N)

# tenths NANOSECONDS: seconds with one decimal.
tenths() { printf '%d.%d' "$(($1 / 1000000000))" "$(($1 / 100000000 % 10))"; }

# step NAME COMMAND...: runs it with its output in the log, and says what came of it. The command may set step_result to a few words.
step() {
	step_name=$1 step_result=
	shift
	step_began=$(date +%s%N)
	if [[ -t 2 ]]; then printf '  …  %s\r' "$step_name" >&2; fi
	printf '== %s\n' "$step_name" >>"$step_log"
	"$@" >>"$step_log" 2>&1
	step_done=$((step_done + 1))
	printf '%6s s  %s%s\n' "$(tenths $(($(date +%s%N) - step_began)))" "$step_name" "${step_result:+: $step_result}" >&2
	step_name=
}

open_step_log() {
	install -d -m 0750 -- "$log_dir"
	: >"$step_log"
	chmod 0640 -- "$step_log"
}

# For trap EXIT: nothing is said when all went well.
explain_failure() {
	local status=$?
	[[ $status -ne 0 && -n $step_name ]] || return 0
	say "" "$(tenths $(($(date +%s%N) - step_began))) s  FAILED: $step_name"
	say "The last lines of $step_log:"
	tail -n 15 -- "$step_log" | sed 's/^/    /' >&2
	say "When the cause is mended, run make up again: it goes on from here. To remove everything: make down"
}
