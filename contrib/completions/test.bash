# SPDX-License-Identifier: Apache-2.0
# Completes a few lines as bash would.
# usage: bash test.bash hvrun.bash HVRUN
source "$1"
hvrun=$2
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/containers" "$root/partitions" "$root/containers/web-1" "$root/containers/web-2"
compopt() { :; } # only works within a completion
failed=0

# The words of a line, the last one unfinished, and what must be offered.
expect() {
	local wanted=$1
	shift
	COMP_WORDS=("$hvrun" "$@")
	COMP_CWORD=$#
	_hvrun_complete
	local got="${COMPREPLY[*]}"
	[[ $got = $wanted ]] && return
	echo "hvrun $*: expected \"$wanted\", got \"$got\""
	failed=1
}

expect 'features' fea
expect '*create*exec*kill*logs*' ''
expect '--log --log-format --log-level' --log
expect 'text json' --log-format ''
expect 'json' --log-format = j
expect 'local qemu attach=' --partition ''
expect '--detach' run --de
expect '--timestamps' logs --ti
expect '--vm' update --v
expect 'web-1 web-2' --root "$root" kill ''
expect 'web-2' --root = "$root" logs -f web-2
expect 'web-1 web-2' --root "$root" run --pod web-
expect 'TERM' --root "$root" kill web-1 TER
expect 'TERM' --root "$root" kill -a web-1 SIGTER
expect 'table json' ps -f ''
expect 'stdout stderr' logs --stream ''
expect '' --root "$root" exec web-1 -
expect '' run ''
exit $failed
