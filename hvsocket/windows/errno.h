/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Stands before the compiler's own header on Windows. The numbers that it adds are for tables that
 * name them; no function of Windows gives them. (Winsock has its own, from 10000 on.)
 */

#include_next <errno.h>

#define ENOTBLK 200
#define ESOCKTNOSUPPORT 201
#define ESHUTDOWN 202
#define EPFNOSUPPORT 203
#define EHOSTDOWN 204
#define ESTALE 205
#define EUCLEAN 206
#define EREMOTEIO 207
#define EDQUOT 208
#define ENOMEDIUM 209
#define EMEDIUMTYPE 210
#define ENOKEY 211
#define EKEYREJECTED 212
#define ELIBBAD 213
#define EUSERS 214
