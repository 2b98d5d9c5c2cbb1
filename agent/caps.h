/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The five capability sets, by libcap: the only user of it. */

#include "oci/fault.h"
#include "oci/spec.h"

/* Before the uid changes: the bounding set is cut to `bounding`, and permitted is kept over the change. */
int caps_bound(const struct oci_capabilities *caps, struct fault *fault);
/* After the uid changed: effective, permitted, inheritable and ambient become exactly what was asked; what
 * this kernel or our own sets do not have is refused for permitted and effective, dropped with
 * a debug line for ambient and inheritable as runc does. NULL caps = none at all. */
int caps_apply(const struct oci_capabilities *caps, struct fault *fault);
