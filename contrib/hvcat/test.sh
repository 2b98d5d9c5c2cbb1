#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Usage: test.sh HVCAT. Every option and every exit status, with each kind of socket that needs no VM.
set -eu
hvcat=$(realpath "$1")
folder=$(mktemp -d)
pids=
cleanup() {
	for pid in $pids; do kill "$pid" 2>/dev/null || :; done
	wait
	rm -rf "$folder"
}
trap cleanup EXIT
cd "$folder"
export HVCAT="$hvcat" HVSOCKET_LOOPBACK_DIR="$folder/loopback"

fail() {
	echo "$*" >&2
	for log in log said; do test ! -s $log || sed "s/^/$log: /" $log >&2; done
	exit 1
}

await() { # COMMAND…: until it succeeds
	n=0
	until "$@"; do
		n=$((n + 1))
		test $n -lt 250 || fail "$*: not yet"
		sleep 0.02
	done
}

# Listens in the background, with standard error in the file "log"; returns when FILE is there.
listen() { # FILE OPTION…
	file=$1
	shift
	# A shell gives what it runs in the background no standard input, unless it is told.
	{ "$hvcat" -l "$@" <&3 2>log & } 3<&0
	listener=$!
	pids="$pids $listener"
	await test -S "$file"
}

ended() { # STATUS WHAT: the listener
	r=0
	wait "$listener" || r=$?
	test "$r" = "$1" || fail "$2: status $r"
}

stop() { # WHAT: the listener ends by a signal, and leaves nothing behind
	kill "$listener"
	ended 0 "$1"
	test ! -e "$file" || fail "$1: $file is left behind"
}

says() { # TEXT STATUS ARGUMENT…
	text=$1 status=$2
	shift 2
	r=0
	"$hvcat" "$@" >output 2>said </dev/null || r=$?
	test "$r" = "$status" || fail "$*: status $r"
	grep -qF -e "$text" said || fail "$*: not \"$text\""
	test "$(wc -l <said)" = 1 || fail "$*: more than a line"
}

head -c 3000000 /dev/urandom >data
head -c 1500000 /dev/urandom >answer
unix=unix://$folder
hybrid=hybrid://$folder
vm=9866c7bc-0c89-4cb0-9427-5b526d1ae83b

# Both directions of one connection at once, from files and through pipes; the socket goes at the end.
both_ways() { # URL FILE [OPTION]
	listen "$2" "$1" <answer >received
	"$hvcat" ${3-} "$1" <data >answered || fail "$1: status"
	ended 0 "$1"
	cmp data received || fail "$1: to the listener"
	cmp answer answered || fail "$1: to the dialler"
	test ! -e "$2" || fail "$1: left behind"
}
both_ways "$unix/u" u
both_ways "$hybrid/v:5000" v_5000 -g
both_ways "$hybrid/v:$vm" v_$vm -g
cat answer | "$hvcat" -l "$unix/p" | cat >received &
await test -S p
cat data | "$hvcat" "$unix/p" | cat >answered
wait $!
cmp data received && cmp answer answered || fail pipes

# -k: one after another, until a signal.
listen k -k "$unix/k" </dev/null >received
printf one | "$hvcat" "$unix/k"
printf two | "$hvcat" "$unix/k"
await test "$(cat received)" = onetwo
stop -k

# -k with standard output: others wait. The first is there when it has been heard.
listen k -k "$unix/k" </dev/null >received
mkfifo hold
"$hvcat" "$unix/k" <hold &
first=$!
exec 5>hold
printf first >&5
await test -s received
printf second | "$hvcat" "$unix/k" 5>&- &
second=$!
sleep 0.1
test "$(cat received)" = first || fail "-k: served two at the same time"
exec 5>&-
wait $first $second
await test "$(cat received)" = firstsecond
stop -k

# -e: an echo server for many at the same time, in bytes; its commands leave no zombies.
listen e -k -e cat "$unix/e"
for i in 1 2 3 4 5; do
	"$hvcat" "$unix/e" <data >echo$i &
	echoes="${echoes-} $!"
done
wait $echoes
for i in 1 2 3 4 5; do cmp data echo$i || fail "-e: echo $i"; done
no_children() { test -z "$(cat /proc/$listener/task/$listener/children)"; }
await no_children
stop -e

# -e: the command has a connection that blocks, and nothing else from us.
cat >look <<'LOOK'
grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status
grep flags: /proc/self/fdinfo/0
echo descriptors: $(ls /proc/self/fd)
echo "$HV_PEER_KIND $HV_PEER_VM $HV_PEER_SERVICE"
LOOK
(
	trap '' HUP USR1
	exec 7<look
	exec "$hvcat" -l -v -e 'exec sh look' "$unix/e" 2>log
) &
listener=$!
await test -S e
"$hvcat" "$unix/e" </dev/null >seen
ended 0 -e
grep -q 'SigBlk:.0000000000000000' seen || fail "-e: blocked signals: $(cat seen)"
grep -q 'SigIgn:.0000000000000000' seen || fail "-e: ignored signals: $(cat seen)"
grep -q 'flags:.02$' seen || fail "-e: does not block: $(cat seen)"
# The fourth is the folder that is being looked at.
grep -qx 'descriptors: 0 1 2 3' seen || fail "-e: $(cat seen)"
grep -q '^LOOPBACK e0e16197-dd56-4a10-9195-5ee7a155a838 ' seen || fail "-e: $(cat seen)"
grep -q 'connection from LOOPBACK {e0e16197-dd56-4a10-9195-5ee7a155a838, .*} (uid ' log || fail -v

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

# -m: so many at the same time, the others wait.
listen m -k -m 1 -e 'echo $$; cat' "$unix/m"
"$hvcat" "$unix/m" <hold >first &
first=$!
exec 5>hold
await test -s first
"$hvcat" "$unix/m" </dev/null >second 5>&- &
second=$!
sleep 0.1
test ! -s second || fail "-m: served two at the same time"
exec 5>&-
wait $first $second
test -s second || fail "-m: the second was not served"
stop -m

# Relays: the end of each direction goes through, and so does everything before it.
listen r2 -k -e 'wc -c; cat answer' "$unix/r2"
far=$listener
listen r1 -k "$unix/r1" "$unix/r2"
for i in 1 2 3; do
	{ "$hvcat" "$unix/r1" <data >relayed$i || touch lost; } &
	relays="${relays-} $!"
done
wait $relays
{ echo 3000000; cat answer; } >expected
for i in 1 2 3; do cmp expected relayed$i || fail "relay $i"; done
test ! -e lost || fail "relay: status"
stop relay
# A relay that dials both.
listen r1 "$unix/r1" <data >received
"$hvcat" "$unix/r1" "$unix/r2" || fail "relay of two diallers"
ended 0 "relay of two diallers"
cmp expected received || fail "relay of two diallers"
kill $far
wait $far
# Nobody at the second URL: this connection ends; with -k the next may come.
listen r1 "$unix/r1" "$unix/none"
"$hvcat" -n "$unix/r1"
ended 1 "relay to nobody"
grep -qx "hvcat: $unix/none: nobody listens there" log || fail "relay to nobody"
listen r1 -k "$unix/r1" "$unix/r2"
"$hvcat" -n "$unix/r1"
far_file=r2
"$hvcat" -l -e 'echo far' "$unix/r2" &
far=$!
await test -S r2
test "$("$hvcat" -n "$unix/r1")" = far || fail "relay: the next one"
wait $far
test "$(wc -l <log)" = 1 || fail "relay to nobody, -k"
stop "relay, -k"

# -n leaves standard input alone; -q closes when it ends.
listen n -k -e 'echo output' "$unix/n"
test "$(printf 'left over' | { "$hvcat" -n "$unix/n"; cat; })" = 'output
left over' || fail -n
stop -n
listen q -e 'cat; exec sleep 30' "$unix/q"
timeout 10 "$hvcat" -q "$unix/q" <data >/dev/null || fail -q
kill "$listener"
ended 143 -q

# A VMM, as far as a shell can be one: what it passes on of ends is one direction's.
listen v -k -e 'read -r word port && test -S v_guest_$port || exit; echo "OK 1073741824"
	exec "$HVCAT" unix://$PWD/v_guest_$port' "$unix/v"
vmm=$listener
guest() { # COMMAND
	"$hvcat" -l -e "$1" "$unix/v_guest_5000" &
	guest=$!
	await test -S v_guest_5000
}
guest 'printf hello'
test "$("$hvcat" "$hybrid/v:5000")" = hello || fail "hybrid: from the guest"
wait $guest
guest 'wc -c >counted'
"$hvcat" -H "$hybrid/v:5000" <data || fail "hybrid -H"
wait $guest
test "$(cat counted)" = 3000000 || fail "hybrid -H: $(cat counted)"
guest 'head -c 3000000 | wc -c'
test "$("$hvcat" "$hybrid/v:5000" <data)" = 3000000 || fail "hybrid without -H"
wait $guest
guest 'head -c 3'
test "$(timeout 10 "$hvcat" -e 'echo one; head -c 3 >&2' "$hybrid/v:5000" 2>&1)" = one || fail "hybrid -e"
wait $guest
says 'nobody listens there' 1 "$hybrid/v:5001"
# A child by its GUID is dialled by its socket, and nobody without a row.
guest 'printf hello'
test "$("$hvcat" -c "$vm=$folder/v" hyperv://$vm/5000)" = hello || fail -c
wait $guest
says 'makes no sense' 1 hyperv://$vm/5000
kill $vmm
wait $vmm
# Listening for a child: its VMM's user may come in.
listen w_6000 -c "$vm=$folder/w,$(id -u)" -v hyperv://$vm/6000 </dev/null >received
"$hvcat" -g "$hybrid/w:6000" <data || fail "-c: the child"
ended 0 "-c"
cmp data received || fail "-c: to the listener"
grep -q "connection from VM {$vm, 00001770-facb-11e6-bd58-64006a7986d3}" log || fail "-c -v"
listen w_6000 -k -c "$vm=$folder/w,$(($(id -u) + 1))" -v hyperv://$vm/6000 </dev/null >received
"$hvcat" -g -n "$hybrid/w:6000" || :
await grep -q 'refused a peer' log
test ! -s received || fail "-c: another user's"
stop "-c: another user's"
# -w: a VMM that does not answer.
listen v -k -e 'exec sleep 30' "$unix/v"
says 'no answer in time' 1 -w 1 "$hybrid/v:5000"
kill $(cat /proc/$listener/task/$listener/children)
stop -w

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
: | { "$hvcat" "$unix/o"; grep flags: /proc/self/fdinfo/0 >flags0; grep flags: /proc/self/fdinfo/1 >flags1; } |
	cat >/dev/null
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
