#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A program stays one small file. usage: tests/size.sh PROGRAM BYTES [LIBRARY]
# LIBRARY: the only one that it may be linked with dynamically; without it the program is static.
set -u
program=${1:?program}
limit=${2:?bytes}
copy=$(mktemp)
trap 'rm -f "$copy"' EXIT
strip -o "$copy" "$program" || exit 1
size=$(stat -c %s "$copy")
echo "${program##*/}, stripped: $size bytes of $limit"
needed=$(readelf -d "$program" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
if [ "$needed" != "${3-}" ]; then
	echo "it needs $needed"
	exit 1
fi
[ "$size" -le "$limit" ]
