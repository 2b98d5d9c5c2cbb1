/* SPDX-License-Identifier: Apache-2.0 */

/*
 * See the header. Connections under way are kept in a list of the library's that one thread may use
 * at a time; what may be called by several is behind a lock here.
 */

#include "contrib/hvcat/wire.h"

#include "hvsocket/hyperv.h"

static SRWLOCK pending = SRWLOCK_INIT;

int wire_wait(int fd, int milliseconds)
{
	int r = hv_wait(fd, HV_READABLE, milliseconds);
	return r < 0 ? r : r != 0;
}

static ssize_t receive(int fd, void *bytes, size_t size, int flags, int milliseconds)
{
	int r = wire_wait(fd, milliseconds);
	if (r <= 0)
		return r < 0 ? r : -ETIMEDOUT;
	int n = recv((SOCKET)fd, bytes, (int)size, flags);
	return n < 0 ? winsock_error() : n;
}

ssize_t wire_read(int fd, void *bytes, size_t size, int milliseconds)
{
	return receive(fd, bytes, size, 0, milliseconds);
}

ssize_t wire_peek(int fd, void *bytes, size_t size, int milliseconds)
{
	return receive(fd, bytes, size, MSG_PEEK, milliseconds);
}

int wire_write(int fd, const void *bytes, size_t size, int milliseconds)
{
	const char *at = bytes;
	while (size) {
		int r = hv_wait(fd, HV_WRITABLE, milliseconds);
		if (r <= 0)
			return r < 0 ? r : -ETIMEDOUT;
		int n = send((SOCKET)fd, at, (int)size, 0);
		if (n < 0 && winsock_error() != -WSAEWOULDBLOCK)
			return winsock_error();
		if (n > 0) {
			at += n;
			size -= (size_t)n;
		}
	}
	return 0;
}

void wire_close(int fd)
{
	AcquireSRWLockExclusive(&pending);
	hv_close(fd);
	ReleaseSRWLockExclusive(&pending);
}

void wire_sleep(int milliseconds)
{
	Sleep((DWORD)milliseconds);
}

uint64_t wire_microseconds(void)
{
	LARGE_INTEGER now, per_second;
	QueryPerformanceCounter(&now);
	QueryPerformanceFrequency(&per_second);
	uint64_t whole = (uint64_t)(now.QuadPart / per_second.QuadPart);
	uint64_t part = (uint64_t)(now.QuadPart % per_second.QuadPart);
	return whole * 1000000 + part * 1000000 / (uint64_t)per_second.QuadPart;
}

int wire_dial(const struct options *options, const struct hv_endpoint *endpoint,
              const struct hv_machine *machine)
{
	bool is_pending;
	AcquireSRWLockExclusive(&pending);
	int fd = hv_connect(endpoint, machine, options->as_guest, &is_pending);
	HANDLE event = fd < 0 ? NULL : hv_connect_event(fd);
	ReleaseSRWLockExclusive(&pending);
	if (fd < 0)
		return fd;
	int r = -ETIMEDOUT;
	if (!event || WaitForSingleObject(event, options->wait) == WAIT_OBJECT_0) {
		AcquireSRWLockExclusive(&pending);
		r = hv_connect_finish(fd);
		ReleaseSRWLockExclusive(&pending);
	}
	if (r >= 0)
		return fd;
	wire_close(fd);
	return r;
}
