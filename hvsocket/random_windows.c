/* SPDX-License-Identifier: Apache-2.0 */

/* Randomness on Windows: the system's preferred generator, which needs no handle. */

#include "hvsocket/guid.h"

#include <windows.h>

#include <bcrypt.h>

int hv_random(void *bytes, size_t size)
{
	NTSTATUS status = BCryptGenRandom(NULL, bytes, (ULONG)size,
	                                  BCRYPT_USE_SYSTEM_PREFERRED_RNG);
	return status < 0 ? -EIO : 0;
}
