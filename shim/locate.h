/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Where the programs and files are that a VM needs. */

#include "oci/fault.h"

#include <limits.h>

/*
 * A file of the guest: `given` if not NULL, else the first of the names (ended by NULL) in
 * $HVRUN_GUEST, in ../guest beside this program, or where hvrun is installed. what: for the
 * message, "the guest's kernel". -ENOENT says where it was looked for.
 */
int locate_guest(const char *what, const char *given, const char *const *names,
                 char ret[static PATH_MAX], struct fault *fault);
/*
 * A program: `given`, else the first of the absolute paths (ended by NULL) that there is, else the
 * name in PATH.
 */
int locate_program(const char *given, const char *const *paths, const char *name,
                   char ret[static PATH_MAX], struct fault *fault);
/* The directory of this program; false when it cannot be told. */
bool locate_own(char ret[static PATH_MAX]);
