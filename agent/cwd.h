/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* process.cwd, inside the container's root. */

#include "oci/fault.h"

/* Makes what is missing of it, 0755. To be called before the root becomes read-only. */
int cwd_make(const char *cwd, struct fault *fault);
/* chdir(2), and proof that we are beneath the root. */
int cwd_enter(const char *cwd, struct fault *fault);
