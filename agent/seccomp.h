/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * linux.seccomp → a BPF program, by libseccomp. Compiled in the agent before the clone (a refusal
 * is then an answer to the request), loaded in the child as the last thing before execve().
 */

#include "oci/fault.h"
#include "oci/spec.h"

struct seccomp_program {
	void *filter;           /* struct sock_filter[] */
	size_t count;
	unsigned flags;         /* SECCOMP_FILTER_FLAG_* */
};
#define SECCOMP_PROGRAM_NULL { .filter = NULL }

/* False in a build without libseccomp, where seccomp_compile() is -ENOTSUP with a fault. */
extern const bool seccomp_built_in;
/*
 * Takes some milliseconds for a usual profile, unless it is that of the call before. A container
 * does it once, for its init and every exec.
 */
int seccomp_compile(const struct oci_seccomp *seccomp, struct seccomp_program *ret,
                    struct fault *fault);
/* Needs no_new_privs, or CAP_SYS_ADMIN in effect. */
int seccomp_apply(const struct seccomp_program *program);
void seccomp_deinit(struct seccomp_program *program);
