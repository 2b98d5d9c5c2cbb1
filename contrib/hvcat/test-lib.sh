# SPDX-License-Identifier: Apache-2.0
# What the tests of hvcat have in common; $1 is the program. They run in a folder of their own.
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
