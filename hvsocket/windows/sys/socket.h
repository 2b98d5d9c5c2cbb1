/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The sockets of Windows under the name that they have elsewhere. */

#include <winsock2.h>

#define AF_VSOCK 40

#define SHUT_RD SD_RECEIVE
#define SHUT_WR SD_SEND
#define SHUT_RDWR SD_BOTH
