#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The agent stays one small static file. usage: tests/size.sh AGENT
set -u
limit=1200000
copy=$(mktemp)
trap 'rm -f "$copy"' EXIT
strip -o "$copy" "${1:?agent}" || exit 1
size=$(stat -c %s "$copy")
echo "hvagent, stripped: $size bytes of $limit"
if readelf -l "$1" | grep -q INTERP; then
	echo "hvagent is not static"
	exit 1
fi
[ "$size" -le "$limit" ]
