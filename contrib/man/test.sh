#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every verb and every option that --help knows is in the manual, and the manual has no mistakes.
# usage: contrib/man/test.sh HVRUN HVAGENT SHIM HVCAT
set -eu
here=$(dirname "$0")
hvrun=${1:?hvrun}
hvagent=${2:?hvagent}
shim=${3:?containerd-shim-hvrun-v1}
hvcat=${4:?hvcat}
bad=0

check() { # page, text, whose
	if ! printf '%s\n' "$manual" | grep -qF -e "$2"; then
		echo "$1: nothing about $2 of $3"
		bad=1
	fi
}
options() { # program and verb → --name, one in a line
	"$@" --help | grep -oE '^ +(-[a-z], )?--[a-z0-9-]+' | grep -oE -e '--[a-z0-9-]+' || true
}

# As text, in which hyphens are hyphens.
text() {
	sed 's/\\-/-/g; s/\\f[A-Z]//g; s/\\&//g' "$1"
}

manual=$(text "$here/hvrun.1")
for option in $(options "$hvrun"); do
	check hvrun.1 "$option" hvrun
done
for verb in $("$hvrun" --help | sed -n 's/^  \([a-z][a-z]*\) .*/\1/p'); do
	check hvrun.1 "hvrun $verb" hvrun
	for option in $(options "$hvrun" "$verb"); do
		check hvrun.1 "$option" "hvrun $verb"
	done
done
manual=$(text "$here/hvagent.8")
for option in $(options "$hvagent"); do
	check hvagent.8 "$option" hvagent
done
manual=$(text "$here/containerd-shim-hvrun-v1.8")
for option in $("$shim" -h | grep -oE '^ +(-[a-z], )?-[a-z-]+' | grep -oE -e '-[a-z-]+'); do
	check containerd-shim-hvrun-v1.8 "$option" containerd-shim-hvrun-v1
done
manual=$(text "$here/hvcat.1")
for option in $("$hvcat" --help | grep -oE '^ +-(-[a-z]+|[a-zA-Z])'); do
	check hvcat.1 "$option" hvcat
done
if command -v groff >/dev/null; then
	for page in "$here"/*.[158]; do
		warnings=$(groff -man -Tutf8 -ww -z "$page" 2>&1)
		[ -z "$warnings" ] || { echo "$warnings"; bad=1; }
	done
fi
exit $bad
