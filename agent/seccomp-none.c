/* SPDX-License-Identifier: Apache-2.0 */

/* For builds without libseccomp: a container that asks for a filter is refused, not run without
 * one. */

#include "agent/seccomp.h"

const bool seccomp_built_in = false;

int seccomp_compile(const struct oci_seccomp *seccomp, struct seccomp_program *ret,
                    struct fault *fault)
{
	(void)seccomp;
	*ret = (struct seccomp_program)SECCOMP_PROGRAM_NULL;
	return fault_set(fault, -ENOTSUP, HRESULT_NOT_IMPLEMENTED,
	                 "linux.seccomp: this agent was built without seccomp");
}

int seccomp_apply(const struct seccomp_program *program)
{
	(void)program;
	return -ENOTSUP;
}

void seccomp_deinit(struct seccomp_program *program)
{
	(void)program;
}
