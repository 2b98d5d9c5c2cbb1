#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The programs under Wine, against Wine's own reg.exe and Registry Editor.
# usage: contrib/windows/test.sh WINE HVRUN-HV HVCAT HVCAT-TCP
set -eu
wine=$(realpath "$1")
hv() { "$wine" "$hv" "$@"; }
hv=$(realpath "$2") hvcat=$(realpath "$3") hvcat_tcp=$(realpath "$4")
folder=$(mktemp -d)
export WINEPREFIX="$folder/prefix"
port=$((20000 + $$ % 20000))
listener=
# Wine's server leaves with the last program, perhaps while the next one comes in: one stays.
"$wine" "$hvcat_tcp" -l -k hyperv://any/$((port + 1)) </dev/null >/dev/null 2>&1 &
guard=$!
cleanup() {
	kill $guard $listener 2>/dev/null || :
	# The server may be leaving something behind just now.
	until rm -rf "$folder" 2>/dev/null; do sleep 0.1; done
}
trap cleanup EXIT
cd "$folder"
id=9866c7bc-0c89-4cb0-9427-5b526d1ae83b
branch='HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Virtualization\GuestCommunicationServices'

fail() {
	echo "$*" >&2
	exit 1
}
says() { # TEXT STATUS COMMAND…
	text=$1 status=$2 r=0
	shift 2
	"$@" >said 2>&1 </dev/null || r=$?
	test "$r" = "$status" || fail "$*: status $r: $(cat said)"
	grep -qF -e "$text" said || fail "$*: $(cat said)"
}
key() { # what reg.exe finds
	"$wine" reg query "$branch\\$1" 2>&1 | tr -d '\r'
}
is_gone() { key "$id" | grep -q 'Unable to find the specified registry key' || fail "$1: $(key "$id")"; }

await() { # PORT: somebody listens there
	n=0
	until grep -qi "$(printf '0100007F:%04X 00000000:0000 0A' "$1")" /proc/net/tcp; do
		n=$((n + 1))
		test $n -lt 300 || fail "nobody listens on $1: $(cat log 2>&1)"
		sleep 0.05
	done
}
# Two that start at the same time would disturb each other.
await $((port + 1))

# Addresses and GUIDs.
says '22000000 da7c2ea4 3fd00c48 9cc2a4de 20abb878 c90a0000 cbfae611 bd586400 6a7986d3' 0 \
	hv address hyperv://parent/2761
says 'vsock port 2761 (0xac9)' 0 hv guid 00000AC9-FACB-11E6-BD58-64006A7986D3
says 'dials:        AF_HYPERV' 0 hv hyperv://loopback/5
says 'Windows carries hyperv: endpoints only' 0 hv vsock://host:5
says 'neither a verb, an endpoint, a GUID nor a port' 1 hv nonsense
says 'there are no Hyper-V sockets here: Hyper-V is not enabled' 0 hv
says 'guest, Windows build ' 0 hv
hv guid | grep -Eqx '[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}' || fail 'hv guid'
says 'usage: hvrun-hv' 0 hv --help

# Services: written by us, read by reg.exe.
test "$(hv register --name 'HV Socket Demo' --guid "{$id}")" = $id || fail register
key $id | grep -qE '^ +ElementName +REG_SZ +HV Socket Demo$' || fail "reg query: $(key $id)"
says "$id  hvrun       HV Socket Demo" 0 hv list
says 'registered by: hvrun' 0 hv show $id
says "Windows' own" 1 hv register --name x --guid 999E53D4-3D5C-4C3E-8779-BED06EC056E1
hv unregister $id
is_gone unregister
says 'is not registered' 1 hv unregister $id
# Somebody else's.
"$wine" reg add "$branch\\$id" /v ElementName /d theirs /f >/dev/null
says "$id  -           theirs" 0 hv list
says 'registered by somebody else: "theirs"' 1 hv unregister $id
says 'somebody else'"'"'s already: "theirs"' 1 hv register --name mine --guid $id
"$wine" reg delete "$branch\\$id" /f >/dev/null

# The text for Registry Editor does what the verbs do.
hv register --reg --name 'Grüße "a\b" €😀' --guid $id >add.reg
is_gone 'register --reg'
"$wine" regedit /S add.reg
says "$id  hvrun       Grüße \"a\\b\" €😀" 0 hv list
hv list --reg >list.reg
cmp add.reg list.reg || fail 'list --reg'
hv unregister --reg $id >remove.reg
"$wine" regedit /S remove.reg
is_gone remove.reg

# hvcat, where there are no sockets, and with TCP in their place.
says 'Hyper-V is not enabled' 1 "$wine" "$hvcat" hyperv://loopback/5000
says 'Hyper-V is not enabled' 1 "$wine" "$hvcat" -l hyperv://any/5000
says 'this machine is no guest' 0 hv hyperv://parent/5000
says 'makes no sense' 1 "$wine" "$hvcat" hyperv://parent/5000
says 'no sockets of this family' 1 "$wine" "$hvcat" unix:///x
says 'begins with none' 2 "$wine" "$hvcat" tcp://127.0.0.1:5
says 'no option -c' 2 "$wine" "$hvcat" -c x hyperv://any/5
says '-k goes with -l' 2 "$wine" "$hvcat" -k hyperv://any/5
says '-e needs a value' 2 "$wine" "$hvcat" hyperv://any/5 -e
says '-m x: not a number' 2 "$wine" "$hvcat" -l -k -e x -m x hyperv://any/5
says 'exclude' 2 "$wine" "$hvcat" -e x hyperv://any/5 hyperv://any/6
says 'the port or service is missing' 2 "$wine" "$hvcat" hyperv://any
says '  -e CMD ' 0 "$wine" "$hvcat" --help
! grep -q '^  -[csgH] ' said || fail '--help'

await_text() { # FILE TEXT
	n=0
	until test "$(tr -d '\r' <"$1")" = "$2"; do
		n=$((n + 1))
		test $n -lt 100 || fail "$1: $(cat "$1" log)"
		sleep 0.05
	done
}
cat_tcp() { "$wine" "$hvcat_tcp" "$@"; }
listen() { # OPTION…: on $port, the next one
	port=$((port + 2))
	{ "$wine" "$hvcat_tcp" -l -v "$@" <&3 2>log & } 3<&0
	listener=$!
	await $port
	url=hyperv://loopback/$port
}
ended() { # STATUS
	r=0
	wait $listener || r=$?
	listener=
	test $r = "$1" || fail "status $r: $(cat log)"
}
stop() {
	kill $listener
	wait $listener || :
	listener=
}
any() { echo hyperv://any/$((port + 2)); }

head -c 1000000 /dev/urandom >data
head -c 300000 /dev/urandom >answer
listen "$(any)" <answer >received
cat_tcp $url <data >answered
ended 0
cmp data received
cmp answer answered
grep -q 'connection from LOOPBACK {e0e16197-dd56-4a10-9195-5ee7a155a838, ' log || fail "-v: $(cat log)"
grep -q 'closed: 1000000 bytes received, 300000 sent' log || fail "-v: $(cat log)"
says 'nobody listens there' 1 cat_tcp $url

listen -k "$(any)" </dev/null >received
printf one | cat_tcp -q $url
printf two | cat_tcp $url
await_text received onetwo
test "$(printf 'left over' | { cat_tcp -n $url; cat; })" = 'left over' || fail -n
stop

# Commands: their environment, their status, several at the same time.
listen -k -e 'set HV_PEER_KIND& set /p line=& call echo %^line%' "$(any)"
echo first >one
cat_tcp $url <one >first &
first=$!
echo second >two
cat_tcp $url <two >second
wait $first
await_text first 'HV_PEER_KIND=LOOPBACK
first'
await_text second 'HV_PEER_KIND=LOOPBACK
second'
stop
listen -e 'exit 7' "$(any)"
cat_tcp $url </dev/null
ended 7
listen "$(any)" </dev/null >received
r=0
cat_tcp -e 'echo from the dialler& exit 5' $url || r=$?
test $r = 5 || fail "-e of a dialler: status $r"
ended 0
await_text received 'from the dialler'
# Relays.
listen -k -e 'set /p line=& echo answer' "$(any)"
far=$listener far_url=$url
listen -k "$(any)" $far_url
cat_tcp $url <one >relayed
await_text relayed answer
stop
listener=$far
stop
listen "$(any)" $far_url
cat_tcp $url </dev/null
ended 1
grep -q "$far_url: nobody listens there" log || fail "relay to nobody: $(cat log)"

# The probe. TCP carries everything that is tried.
listen -p "$(any)" </dev/null
cat_tcp -p -v $url >probed
ended 0
for line in 'half-close: yes (' 'end-is-safe: yes (' 'peek: yes' 'peer-identity: vm (LOOPBACK {'; do
	grep -qF "$line" probed || fail "-p: $(cat probed)"
done
listen -k "$(any)" </dev/null >/dev/null
says 'is no "hvcat -l -p"' 1 cat_tcp -p $url
stop
