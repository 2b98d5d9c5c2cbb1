/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * linux.seccomp → a BPF program, by libseccomp. Compiled in the agent before the clone (a refusal is
 * then an answer to the request), loaded in the child as the last thing before execve().
 */

#include "oci/fault.h"
#include "oci/spec.h"

struct seccomp_program {
	void *filter;           /* struct sock_filter[] */
	size_t count;
	unsigned flags;         /* SECCOMP_FILTER_FLAG_* */
};
int seccomp_compile(const struct oci_seccomp *seccomp, struct seccomp_program *ret,
                    struct fault *fault);
int seccomp_load(const struct seccomp_program *program);
void seccomp_deinit(struct seccomp_program *program);
