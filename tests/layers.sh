#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Guards the layers: agent → oci → hvsocket ← oci ← shim, and the fences around libraries.
# usage: tests/layers.sh SOURCE_FOLDER
cd "${1:?source folder}" || exit 1
bad=0
forbid() { # what, pattern, files…
	what=$1 pattern=$2
	shift 2
	if grep -nE "$pattern" "$@" /dev/null; then
		echo "layers: $what"
		bad=1
	fi
}
forbid 'hvsocket/ knows only itself' '#include "(oci|agent|shim|tests)/' hvsocket/*.[ch]
forbid 'oci/ knows only itself and hvsocket/' '#include "(agent|shim|tests)/' oci/*.[ch]
forbid 'agent/ does not know shim/' '#include "(shim|tests)/' agent/*.[ch]
forbid 'shim/ does not know agent/' '#include "(agent|tests)/' shim/*.[ch] shim/hv/*.[ch] shim/containerd/*.[ch]
forbid 'the static programs do not know shim/containerd/' '#include "shim/containerd/|protobuf' shim/*.[ch] shim/hv/*.[ch]
forbid 'only oci/json.c includes yajl' '#include <yajl/' $(ls hvsocket/*.[ch] oci/*.[ch] agent/*.[ch] shim/*.[ch] shim/hv/*.[ch] shim/containerd/*.[ch] | grep -v '^oci/json\.c$')
forbid 'only */caps.c includes libcap' '#include <sys/capability\.h>' $(ls hvsocket/*.[ch] oci/*.[ch] agent/*.[ch] shim/*.[ch] shim/hv/*.[ch] shim/containerd/*.[ch] | grep -v '/caps\.c$')
for file in hvsocket/*.[ch] oci/*.[ch] agent/*.[ch] shim/*.[ch] shim/hv/*.[ch] shim/containerd/*.[ch] \
	shim/containerd/proto/*.proto tests/*/*.[ch]; do
	head -n 2 "$file" | grep -q 'SPDX-License-Identifier: Apache-2.0' || { echo "$file: no SPDX line"; bad=1; }
done
exit $bad
