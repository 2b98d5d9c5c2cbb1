/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The text of a fault ends up on terminals, in logs and in JSON, and parts of it come from the
 * other side, so it is made harmless here, once: one line, no control characters (C1 included:
 * some terminals obey them), valid UTF-8. Of what is too long the middle goes: what was being done
 * stands at the beginning, why it failed at the end, and between them a name that somebody made up.
 *
 * The texts of errnos are a table of our own because they are compared by users and tests, and
 * strerror(3) differs between the C libraries.
 */

#include "oci/fault.h"
#include "oci/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* With what comes before it. The longest text is much shorter. */
#define REASON_MAX 80

static const char *const errno_texts[] = {
	[0] = "success",
	[EPERM] = "operation not permitted",
	[ENOENT] = "no such file or directory",
	[ESRCH] = "no such process",
	[EINTR] = "interrupted system call",
	[EIO] = "input/output error",
	[ENXIO] = "no such device or address",
	[E2BIG] = "argument list too long",
	[ENOEXEC] = "exec format error",
	[EBADF] = "bad file descriptor",
	[ECHILD] = "no child processes",
	[EAGAIN] = "resource temporarily unavailable",
	[ENOMEM] = "cannot allocate memory",
	[EACCES] = "permission denied",
	[EFAULT] = "bad address",
	[ENOTBLK] = "block device required",
	[EBUSY] = "device or resource busy",
	[EEXIST] = "file exists",
	[EXDEV] = "invalid cross-device link",
	[ENODEV] = "no such device",
	[ENOTDIR] = "not a directory",
	[EISDIR] = "is a directory",
	[EINVAL] = "invalid argument",
	[ENFILE] = "too many open files in system",
	[EMFILE] = "too many open files",
	[ENOTTY] = "inappropriate ioctl for device",
	[ETXTBSY] = "text file busy",
	[EFBIG] = "file too large",
	[ENOSPC] = "no space left on device",
	[ESPIPE] = "illegal seek",
	[EROFS] = "read-only file system",
	[EMLINK] = "too many links",
	[EPIPE] = "broken pipe",
	[EDOM] = "numerical argument out of domain",
	[ERANGE] = "numerical result out of range",
	[EDEADLK] = "resource deadlock avoided",
	[ENAMETOOLONG] = "file name too long",
	[ENOLCK] = "no locks available",
	[ENOSYS] = "function not implemented",
	[ENOTEMPTY] = "directory not empty",
	[ELOOP] = "too many levels of symbolic links",
	[ENODATA] = "no data available",
	[ETIME] = "timer expired",
	[EPROTO] = "protocol error",
	[EBADMSG] = "bad message",
	[EOVERFLOW] = "value too large for defined data type",
	[ELIBBAD] = "accessing a corrupted shared library",
	[EILSEQ] = "invalid or incomplete multibyte or wide character",
	[EUSERS] = "too many users",
	[ENOTSOCK] = "socket operation on non-socket",
	[EDESTADDRREQ] = "destination address required",
	[EMSGSIZE] = "message too long",
	[EPROTOTYPE] = "protocol wrong type for socket",
	[ENOPROTOOPT] = "protocol not available",
	[EPROTONOSUPPORT] = "protocol not supported",
	[ESOCKTNOSUPPORT] = "socket type not supported",
	[EOPNOTSUPP] = "operation not supported",
	[EPFNOSUPPORT] = "protocol family not supported",
	[EAFNOSUPPORT] = "address family not supported by protocol",
	[EADDRINUSE] = "address already in use",
	[EADDRNOTAVAIL] = "cannot assign requested address",
	[ENETDOWN] = "network is down",
	[ENETUNREACH] = "network is unreachable",
	[ENETRESET] = "network dropped connection on reset",
	[ECONNABORTED] = "software caused connection abort",
	[ECONNRESET] = "connection reset by peer",
	[ENOBUFS] = "no buffer space available",
	[EISCONN] = "transport endpoint is already connected",
	[ENOTCONN] = "transport endpoint is not connected",
	[ESHUTDOWN] = "cannot send after transport endpoint shutdown",
	[ETIMEDOUT] = "connection timed out",
	[ECONNREFUSED] = "connection refused",
	[EHOSTDOWN] = "host is down",
	[EHOSTUNREACH] = "no route to host",
	[EALREADY] = "operation already in progress",
	[EINPROGRESS] = "operation now in progress",
	[ESTALE] = "stale file handle",
	[EUCLEAN] = "structure needs cleaning",
	[EREMOTEIO] = "remote I/O error",
	[EDQUOT] = "disk quota exceeded",
	[ENOMEDIUM] = "no medium found",
	[EMEDIUMTYPE] = "wrong medium type",
	[ECANCELED] = "operation canceled",
	[ENOKEY] = "required key not available",
	[EKEYREJECTED] = "key was rejected by service",
};

const char *errno_text(int error)
{
	static char other[sizeof("error -2147483648")];
	unsigned number = error < 0 ? 0u - (unsigned)error : (unsigned)error;

	if (number < array_size(errno_texts) && errno_texts[number])
		return errno_texts[number];
	snprintf(other, sizeof(other), "error %u", number);
	return other;
}

/* In place: what is replaced does not become longer. Its new length. */
static size_t make_harmless(char *text, size_t length)
{
	size_t out = 0;

	for (size_t i = 0; i < length;) {
		size_t n = utf8_length(text + i, length - i);
		unsigned char first = (unsigned char)text[i];
		bool control = first < 0x20 || first == 0x7f ||
		               (n == 2 && first == 0xc2 && (unsigned char)text[i + 1] < 0xa0);
		if (!n || control) {
			text[out++] = '?';
			i += n ? n : 1;
			continue;
		}
		memmove(text + out, text + i, n);
		out += n;
		i += n;
	}
	return out;
}

static bool is_inside_character(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

/* Valid UTF-8. */
static void copy_both_ends(char to[static FAULT_TEXT], const char *text, size_t length)
{
	static const char cut[] = "…";
	const size_t room = FAULT_TEXT - sizeof(cut);
	size_t head = length, tail = length;

	if (length >= FAULT_TEXT) {
		head = room / 2;
		while (is_inside_character(text[head]))
			head--;
		tail = length - (room - head);
		while (tail < length && is_inside_character(text[tail]))
			tail++;
	}
	memcpy(to, text, head);
	to += head;
	if (tail > head) {
		memcpy(to, cut, sizeof(cut) - 1);
		to += sizeof(cut) - 1;
	}
	memcpy(to, text + tail, length - tail);
	to[length - tail] = '\0';
}

/* The arguments may point into fault->text ("<more>: %s"), hence the detour. reason: or NULL. */
static void set_text(struct fault *fault, const char *reason, const char *format, va_list args)
	__attribute__((format(printf, 3, 0)));
static void set_text(struct fault *fault, const char *reason, const char *format, va_list args)
{
	char usual[FAULT_TEXT + REASON_MAX], *text = usual;
	cleanup_free char *large = NULL;
	va_list again;

	va_copy(again, args);
	int printed = vsnprintf(usual, FAULT_TEXT, format, args);
	size_t length = printed < 0 ? 0 : (size_t)printed;
	if (length >= FAULT_TEXT && (large = malloc(length + REASON_MAX)) != NULL) {
		vsnprintf(large, length + 1, format, again);
		text = large;
	}
	va_end(again);
	if (text == usual)
		length = min_size(length, FAULT_TEXT - 1);
	if (reason)
		length += (size_t)snprintf(text + length, REASON_MAX, ": %s", reason);
	copy_both_ends(fault->text, text, make_harmless(text, length));
}

int fault_vset(struct fault *fault, int error, int hresult, const char *format, va_list args)
{
	if (!fault)
		return error;
	set_text(fault, NULL, format, args);
	fault->hresult = hresult;
	return error;
}

int fault_set(struct fault *fault, int error, int hresult, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fault_vset(fault, error, hresult, format, args);
	va_end(args);
	return error;
}

int fault_errno(struct fault *fault, int error, const char *format, ...)
{
	va_list args;

	if (!fault)
		return error;
	va_start(args, format);
	set_text(fault, errno_text(error), format, args);
	va_end(args);
	fault->hresult = HRESULT_FAIL;
	return error;
}
