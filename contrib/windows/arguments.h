/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The command line of a Windows program, whatever characters are in it. */

#include <stddef.h>

/* The words of wmain() in UTF-8, ended by NULL; NULL when there is no memory. Never freed. */
char **utf8_arguments(int argc, wchar_t **argv);
