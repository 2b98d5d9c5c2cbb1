/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the shim says about itself. */

#include "oci/fault.h"

/* -v: for people. */
int info_print_version(struct fault *fault);
/* -info: a RuntimeInfo message; reads runtime options from standard input, which it gives back. */
int info_print(struct fault *fault);
