/* SPDX-License-Identifier: Apache-2.0 */

/* Four bytes of type and a payload, from either side of the bridge. */

#include "oci/message.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/roundtrip.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	if (size < 4 || size > 65536)
		return 0;

	uint32_t type = frame_get_u32(bytes);
	const struct message *message = message_find(type);
	if (!message)
		return 0;
	roundtrip(type == message->type ? message->request : message->reply,
	          (const char *)bytes + 4, size - 4);
	return 0;
}
