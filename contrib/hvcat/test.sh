#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Usage: test.sh HVCAT. What goes through, with each kind of socket that needs no VM.
set -eu
. "$(dirname "$0")/test-lib.sh"

# Both directions of one connection at once, from files and through pipes; then the socket goes.
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
# A service that is no port is nothing for AF_VSOCK, whatever this machine has of it.
both_ways hyperv://loopback/$vm loopback/loopback_$vm

# The two programs of the introductions: a server for everybody and a client, of one service.
listen loopback/loopback_$vm -k -v -e 'echo to the client; cat >&2' hyperv://any/$vm
test "$(echo to the server | "$hvcat" hyperv://loopback/$vm)" = 'to the client' || fail introduction
await grep -qx 'to the server' log
grep -q "connection from LOOPBACK {e0e16197-dd56-4a10-9195-5ee7a155a838, $vm} (uid" log || fail -v
stop introduction
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
	pids="$pids $guest"
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
test "$("$hvcat" -e 'echo one; head -c 3 >&2' "$hybrid/v:5000" 2>&1)" = one || fail "hybrid -e"
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

# -p, between everything that does not need a VM: two times the same.
probe() { # URL FILE [OPTION]
	listen "$2" -p "$1"
	"$hvcat" -p ${3-} "$1" >probed || fail "-p $1: status"
	ended 0 "-p $1"
	for line in 'half-close: yes' 'end-is-safe: yes' 'refuses-fast: yes' 'peek: yes' 'reset: yes' \
		'peer-identity: credentials'; do
		grep -qx "$line" probed || fail "-p $1: not $line: $(cat probed)"
	done
	grep -qE '^connect: [0-9]+ us$' probed || fail "-p $1: connect"
	test "$(wc -l <probed)" = 10 || fail "-p $1: $(cat probed)"
}
probe "$unix/p" p
probe "$hybrid/p:5000" p_5000 -g
probe hyperv://loopback/$vm loopback/loopback_$vm
grep -qx 'service-guid: yes' probed || fail "-p: a service that is no port"
listen p -k -p "$unix/p"
"$hvcat" -p -v "$unix/p" >probed
grep -q '^half-close: yes (of who dials: the end arrives, ' probed || fail "-p -v: $(cat probed)"
"$hvcat" -p "$unix/p" >probed
stop -p
# A VMM that passes ends on in no direction, by a shell again.
listen v -k -e 'read -r word port; echo "OK 1"; exec "$HVCAT" -q unix://$PWD/v_guest_$port' "$unix/v"
vmm=$listener
listen v_guest_5000 -k -p "$unix/v_guest_5000"
"$hvcat" -p "$hybrid/v:5000" >probed
grep -qx 'half-close: no' probed || fail "-p: $(cat probed)"
stop "-p behind a VMM"
kill $vmm
wait $vmm
# Who is no probe, and who says nothing at all.
listen p -k -e 'echo hello' "$unix/p"
says 'is no "hvcat -l -p"' 1 -p "$unix/p"
stop -p
listen p -k -e 'exec sleep 30' "$unix/p"
says 'is no "hvcat -l -p"' 1 -p "$unix/p"
stop -p
