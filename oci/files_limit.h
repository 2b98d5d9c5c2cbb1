/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * How many files may be open. The programs that serve many containers take what they can get; what
 * they start gets back what there was before.
 */

void files_limit_raise(void);
/* In a child, after fork(2). Nothing to do if it was never raised. */
void files_limit_restore(void);
/* In a child that serves the files of many: all that the kernel allows, or that we may take. */
void files_limit_most(void);
