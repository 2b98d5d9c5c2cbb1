#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Usage: test.sh HVCAT. Relays through each kind of socket that needs no VM.
set -eu
hvcat=$(realpath "$1")
folder=$(mktemp -d)
listener=
trap 'test -z "$listener" || kill "$listener" 2>/dev/null || :; rm -rf "$folder"' EXIT
cd "$folder"

fail() {
	echo "$1" >&2
	exit 1
}

await() {
	n=0
	until test -S "$1"; do
		n=$((n + 1))
		test $n -lt 200 || fail "$1: does not appear"
		sleep 0.02
	done
}

head -c 1000000 /dev/urandom >data
printf answer >answer

# Both directions, one connection, the socket removed at the end.
relay() { # URL FILE [OPTION]
	"$hvcat" -l "$1" <answer >received &
	listener=$!
	await "$2"
	"$hvcat" ${3-} "$1" <data >answered
	wait "$listener"
	listener=
	cmp data received || fail "$1: to the listener"
	cmp answer answered || fail "$1: to the dialler"
	test ! -e "$2" || fail "$1: left behind"
}
relay "unix://$folder/u" u

# The host's side of a hybrid socket does not half-close: it says its end by -q.
"$hvcat" -l "hybrid://$folder/v:5000" </dev/null >received &
listener=$!
await v_5000
"$hvcat" -g -q "hybrid://$folder/v:5000" <data
wait "$listener"
listener=
cmp data received || fail "hybrid"

# -k: one after another, also from regular files and /dev/null, until a signal.
"$hvcat" -l -k "unix://$folder/k" </dev/null >received &
listener=$!
await k
printf one | "$hvcat" "unix://$folder/k"
printf two | "$hvcat" "unix://$folder/k"
kill "$listener"
wait "$listener" || fail "-k: killed"
listener=
test "$(cat received)" = onetwo || fail "-k"
test ! -e k || fail "-k: left behind"

# What cannot be is said, by its cause.
says() { # TEXT STATUS ARGUMENT…
	text=$1 status=$2
	shift 2
	r=0
	"$hvcat" "$@" 2>said </dev/null || r=$?
	test "$r" = "$status" || fail "$*: status $r"
	grep -q "$text" said || fail "$*: $(cat said)"
}
says 'nobody listens there' 1 "unix://$folder/none"
says 'nobody listens there' 1 "hybrid://$folder/none:1"
says 'makes no sense' 1 hyperv://any/5
says 'makes no sense' 1 hyperv://broadcast/5
says 'begins with none' 2 tcp://127.0.0.1:5
says 'usage' 2
says 'usage' 2 -k "unix://$folder/u"
