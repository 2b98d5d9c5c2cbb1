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
says usage 2 "$wine" "$hvcat" -k hyperv://any/5

await() { # PORT: somebody listens there
	n=0
	until grep -qi "$(printf '0100007F:%04X 00000000:0000 0A' "$1")" /proc/net/tcp; do
		n=$((n + 1))
		test $n -lt 300 || fail "nobody listens on $1: $(cat log)"
		sleep 0.05
	done
}
head -c 1000000 /dev/urandom >data
head -c 300000 /dev/urandom >answer
"$wine" "$hvcat_tcp" -l -v hyperv://any/$port <answer >received 2>log &
listener=$!
await $port
"$wine" "$hvcat_tcp" hyperv://loopback/$port <data >answered
wait $listener || fail "hvcat -l: $(cat log)"
listener=
cmp data received
cmp answer answered
grep -q 'connection from loopback, VmId e0e16197-' log || fail "hvcat -v: $(cat log)"

"$wine" "$hvcat_tcp" -l -k hyperv://any/$port </dev/null >received 2>log &
listener=$!
await $port
printf one | "$wine" "$hvcat_tcp" -q hyperv://loopback/$port
printf two | "$wine" "$hvcat_tcp" hyperv://loopback/$port
n=0
until test "$(cat received)" = onetwo; do
	n=$((n + 1))
	test $n -lt 100 || fail "hvcat -k: $(cat received log)"
	sleep 0.05
done
kill $listener
wait $listener || :
listener=
says 'nobody listens there' 1 "$wine" "$hvcat_tcp" hyperv://loopback/$port
