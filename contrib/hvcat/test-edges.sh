#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Usage: test-edges.sh HVCAT. Exit statuses, standard input and output that are no good, wrong words.
set -eu
. "$(dirname "$0")/test-lib.sh"

# -e: exit statuses, when listening and when dialling.
status_of() { # STATUS COMMAND
	listen s -e "$2" "$unix/s"
	"$hvcat" "$unix/s" </dev/null >/dev/null 2>said || :
	ended "$1" "-e '$2'"
}
status_of 0 true
status_of 7 'exit 7'
status_of 137 'kill -9 $$'
status_of 127 'exec nothing-of-this-name 2>/dev/null'
listen s "$unix/s" </dev/null >received
r=0
"$hvcat" -e 'echo "$HV_PEER_KIND"; exit 3' "$unix/s" || r=$?
test $r = 3 || fail "-e of a dialler: status $r"
ended 0 "-e of a dialler"
test "$(cat received)" = LOOPBACK || fail "-e of a dialler"
# A signal reaches the command.
listen s -e 'echo here; exec sleep 30' "$unix/s"
"$hvcat" -n "$unix/s" >heard &
dialler=$!
await test -s heard
kill "$listener"
ended 143 "-e, SIGTERM"
wait $dialler || fail "the command's end"

# Standard input and output that are no good, or not there.
listen o -k -e 'cat answer; wc -c >counted' "$unix/o"
lost() { # TEXT STATUS, of the command before
	test $r = "$2" || fail "$1: status $r"
	grep -qF "$1" said || fail "not \"$1\""
}
r=0
"$hvcat" "$unix/o" </dev/null >/dev/full 2>said || r=$?
lost 'standard output: No space left on device' 1
r=0
"$hvcat" "$unix/o" </dev/null >&- 2>said || r=$?
lost 'standard output: Bad file descriptor' 1
r=0
{ "$hvcat" "$unix/o" </dev/null 2>said || echo $? >status; } | head -c 5 >/dev/null
r=$(cat status)
lost 'standard output: Broken pipe' 1
r=0
"$hvcat" "$unix/o" <. >answered 2>said || r=$?
lost 'standard input: Is a directory' 1
cmp answer answered || fail "standard input is a directory"
r=0
"$hvcat" "$unix/o" <&- >answered 2>said || r=$?
test $r = 0 || fail "standard input is closed: status $r"
cmp answer answered || fail "standard input is closed"
# The shell's own pipe does not become non-blocking.
: | {
	"$hvcat" "$unix/o"
	for fd in 0 1; do grep flags: /proc/self/fdinfo/$fd >flags$fd; done
} | cat >/dev/null
! grep -q '4...$' flags0 flags1 || fail "O_NONBLOCK: $(cat flags0 flags1)"
stop "standard input and output"
# A reset is no end.
listen o -e 'head -c 1; exit 5' "$unix/o"
r=0
"$hvcat" "$unix/o" <data >answered 2>said || r=$?
lost 'the VM or the peer is gone' 1
ended 5 reset

# What cannot be is said, by its cause.
says 'nobody listens there' 1 "$unix/none"
says 'nobody listens there' 1 "$hybrid/none:1"
says 'makes no sense' 1 hyperv://any/5
says 'makes no sense' 1 hyperv://broadcast/5
listen u -k "$unix/u" </dev/null
says 'in use' 1 -l "$unix/u"
stop 'in use'
chmod 777 .
says "No such file or directory" 1 -l "$unix/none/u"
says 'denied' 1 -l "$hybrid/v:5"
chmod 700 .
says 'begins with none' 2 tcp://127.0.0.1:5
says 'a URL is missing' 2
says 'too many' 2 "$unix/1" "$unix/2" "$unix/3"
says 'no option -x' 2 -x "$unix/u"
says 'no option --xyz' 2 --xyz "$unix/u"
says '-k goes with -l' 2 -k "$unix/u"
says '-m goes with -k' 2 -l -m 3 -e cat "$unix/u"
says '-m goes with -e' 2 -l -k -m 3 "$unix/u"
says 'exclude' 2 -e cat "$unix/u" "$unix/v"
says 'exclude' 2 -n -q "$unix/u"
says '-p goes' 2 -p -e cat "$unix/u"
says '-n and -q go' 2 -n -e cat "$unix/u"
says '-e needs a value' 2 -e
says 'no command' 2 -e '' "$unix/u"
for wrong in 0 -1 x 1x '' 1000001 99999999999999999999; do
	says "-m $wrong: not a number" 2 -l -k -e cat -m "$wrong" "$unix/u"
	says "-w $wrong: not a number" 2 -w "$wrong" "$unix/u"
done
for wrong in x "$vm" "$vm=" "$vm=x" "$vm=0" "$vm=2" "$vm=4294967295" "x=3" "parent=3" \
	00000000-0000-0000-0000-000000000000=3; do
	says "-c $wrong" 2 -c "$wrong" "$unix/u"
done
says 'there already' 2 -c "$vm=3" -c "$vm=4" "$unix/u"
for wrong in x "$vm" "$vm=" "$vm=0" "$vm=x" "$vm=4294967296" 5=5 \
	00000005-facb-11e6-bd58-64006a7986d3=5; do
	says "-s $wrong" 2 -s "$wrong" "$unix/u"
done
"$hvcat" --help | grep -q '^usage: hvcat' || fail --help
"$hvcat" -h | grep -q '^  -e CMD ' || fail -h
"$hvcat" --version | grep -q '^hvcat [0-9]' || fail --version
