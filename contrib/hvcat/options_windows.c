/* SPDX-License-Identifier: Apache-2.0 */

/* Windows has its Hyper-V sockets, and all that Linux needs further options for besides. */

#include "contrib/hvcat/options.h"

const char *const options_urls = "hyperv://VM/SERVICE";

const struct option_row options_of_system[] = { { 0 } };
