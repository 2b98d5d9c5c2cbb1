/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Without stdio: what could not be written has to be known, and a process that has a copy of the
 * buffer would write it too.
 */

#include "shim/containerd/output.h"

#include "shim/containerd/pack.h"

int output_bytes(const void *bytes, size_t size, struct fault *fault)
{
	for (const char *at = bytes; size;) {
		ssize_t n = write(STDOUT_FILENO, at, size);
		if (n > 0) {
			at += n;
			size -= (size_t)n;
		} else if (n == 0 || errno != EINTR) {
			return fault_errno(fault, n ? -errno : -EIO, "standard output");
		}
	}
	return 0;
}

int output_message(const ProtobufCMessage *message, struct fault *fault)
{
	ProtobufCBinaryData packed = { 0 };
	int error = pack_message(&packed, message);

	error = error < 0 ? fault_errno(fault, error, "standard output")
	                  : output_bytes(packed.data, packed.len, fault);
	free(packed.data);
	return error;
}
