/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The scratch of a container whose root is an image: a file or a block device with an ext4 file
 * system, which an annotation names, for what the container writes.
 */

#include "oci/spec.h"

#define SCRATCH_ANNOTATION "scratch"    /* behind CONFIG_ANNOTATION */

/*
 * Opens it for one container alone, in the mount namespace of the caller; whatever comes from this
 * descriptor by dup(2) or is passed on must be closed before another container can have it. The
 * allow-list is that of the configuration (NULL: the default one). *ret_fd -1: there is none, or
 * it is not allowed to be.
 */
int scratch_open(const struct oci_spec *spec, const char *config, int *ret_fd,
                 struct fault *fault);
