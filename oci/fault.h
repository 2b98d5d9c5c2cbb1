/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a failed request tells its caller: an HRESULT for the bridge, an errno for ourselves and one
 * line of text. Made once, where it is known what was being done to which thing.
 */

#include "hvsocket/base.h"

#include <stdarg.h>

/* The HRESULTs of the bridge, as signed numbers (GCS bridge v4). */
enum hresult {
	HRESULT_OK = 0,
	HRESULT_NOT_IMPLEMENTED = -2147467263,        /* 0x80004001 */
	HRESULT_FAIL = -2147467259,                   /* 0x80004005 */
	HRESULT_ACCESS_DENIED = -2147024891,          /* 0x80070005 */
	HRESULT_INVALID_ARGUMENT = -2147024809,       /* 0x80070057 */
	HRESULT_NOT_FOUND = -2147023728,              /* 0x80070490 */
	HRESULT_INVALID_STATE = -2143878907,          /* 0x80370105 */
	HRESULT_WAIT_TIMEOUT = -1070137079,           /* 0xC0370109 */
	HRESULT_NO_COMMON_VERSION = -1070137076,      /* 0xC037010C */
	HRESULT_INVALID_JSON = -1070137075,           /* 0xC037010D */
	HRESULT_NO_SUCH_CONTAINER = -1070137074,      /* 0xC037010E */
	HRESULT_CONTAINER_EXISTS = -1070137073,       /* 0xC037010F */
	HRESULT_CONTAINER_NOT_RUNNING = -1070137072,  /* 0xC0370110 */
};

#define FAULT_TEXT 1024

struct fault {
	int hresult;            /* enum hresult, or one that a peer sent */
	char text[FAULT_TEXT];  /* one line, valid UTF-8, no final newline */
};
#define FAULT_NULL { .hresult = HRESULT_OK }

/* Fills the fault and returns error (a negative errno), so that `return fault_set(…)` reads well.
 * A NULL fault is allowed. Control characters become '?', what is too long is cut in its middle. */
int fault_set(struct fault *fault, int error, int hresult, const char *format, ...)
	printf_like(4, 5);
int fault_vset(struct fault *fault, int error, int hresult, const char *format, va_list args)
	printf_like(4, 0);
/* HRESULT_FAIL and the text of error at the end: "<format…>: no such file or directory". */
int fault_errno(struct fault *fault, int error, const char *format, ...) printf_like(3, 4);
/* "no such file or directory": strerror in the lower-case style of runc's messages, no allocation,
 * independent of libc and locale for the usual errnos, "error 123" else. error may be negative. */
const char *errno_text(int error);
