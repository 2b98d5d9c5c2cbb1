/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Linux' address of a vsock socket, for Windows: its URLs are understood, its bytes can be shown,
 * no socket takes it.
 */

#include <stdint.h>

#define VMADDR_CID_ANY 0xffffffffu
#define VMADDR_CID_HYPERVISOR 0
#define VMADDR_CID_LOCAL 1
#define VMADDR_CID_HOST 2

struct sockaddr_vm {
	uint16_t svm_family;
	uint16_t svm_reserved1;
	uint32_t svm_port;
	uint32_t svm_cid;
	uint8_t svm_flags;
	uint8_t svm_zero[3];
};
_Static_assert(sizeof(struct sockaddr_vm) == 16, "sockaddr_vm has 16 bytes");
