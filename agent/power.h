/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The end of a VM, for its process 1: ends whatever still runs, writes what is in memory out to the
 * disks as far as they take it in time, and powers off. */
_Noreturn void power_off(void);
