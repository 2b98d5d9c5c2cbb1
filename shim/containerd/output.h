/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Standard output, which a program reads: nothing but the answer is written there. */

#include "oci/fault.h"

#include <protobuf-c/protobuf-c.h>

int output_bytes(const void *bytes, size_t size, struct fault *fault);
int output_message(const ProtobufCMessage *message, struct fault *fault);
