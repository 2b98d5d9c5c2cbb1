/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The text of a fault ends up on terminals, in logs and in JSON, and parts of it come from the
 * other side, so it is made harmless here, once: one line, no control characters (C1 included:
 * some terminals obey them), valid UTF-8.
 *
 * The texts of errnos are a table of our own because they are compared by users and tests, and
 * strerror(3) differs between the C libraries.
 */

#include "oci/fault.h"
#include "oci/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

/* Copies at most room - 1 bytes of text that fit as whole characters. */
static size_t copy_harmless(char *to, size_t room, const char *from)
{
	size_t length = strlen(from), out = 0;

	for (size_t i = 0; i < length;) {
		size_t n = utf8_length(from + i, length - i);
		unsigned char first = (unsigned char)from[i];
		bool control = first < 0x20 || first == 0x7f ||
		               (n == 2 && first == 0xc2 && (unsigned char)from[i + 1] < 0xa0);
		if (!n || control) {
			if (room - out < 2)
				break;
			to[out++] = '?';
			i += n ? n : 1;
			continue;
		}
		if (room - out < n + 1)
			break;
		memcpy(to + out, from + i, n);
		out += n;
		i += n;
	}
	to[out] = '\0';
	return out;
}

/* The arguments may point into fault->text ("<more>: %s"), hence the detour. */
static size_t format_text(struct fault *fault, size_t room, const char *format, va_list args)
	__attribute__((format(printf, 3, 0)));
static size_t format_text(struct fault *fault, size_t room, const char *format, va_list args)
{
	/* A little more than fits, so that a cut character is not mistaken for a wrong one. */
	char text[FAULT_TEXT + 4];

	if (vsnprintf(text, sizeof(text), format, args) < 0)
		text[0] = '\0';
	return copy_harmless(fault->text, room, text);
}

int fault_set(struct fault *fault, int error, int hresult, const char *format, ...)
{
	va_list args;

	if (!fault)
		return error;
	va_start(args, format);
	format_text(fault, sizeof(fault->text), format, args);
	va_end(args);
	fault->hresult = hresult;
	return error;
}

int fault_errno(struct fault *fault, int error, const char *format, ...)
{
	const char *reason = errno_text(error);
	size_t reserved = strlen(reason) + 2;
	va_list args;

	if (!fault)
		return error;
	va_start(args, format);
	size_t length = format_text(fault, sizeof(fault->text) - reserved, format, args);
	va_end(args);
	snprintf(fault->text + length, sizeof(fault->text) - length, ": %s", reason);
	fault->hresult = HRESULT_FAIL;
	return error;
}
