/* SPDX-License-Identifier: Apache-2.0 */

/*
 * See the header. Connections under way are kept in a list of the library's that one thread may use
 * at a time; what may be called by several is behind a lock here.
 */

#include "contrib/hvcat/wire.h"

#include "hvsocket/hyperv.h"

static SRWLOCK pending = SRWLOCK_INIT;

int wire_ready(int fd, bool to_write, int milliseconds)
{
	int r = hv_wait(fd, to_write ? HV_WRITABLE : HV_READABLE, milliseconds);
	return r < 0 ? r : r != 0;
}

ssize_t wire_take(int fd, void *bytes, size_t size, bool peek)
{
	int n = recv((SOCKET)fd, bytes, (int)size, peek ? MSG_PEEK : 0);
	return n < 0 ? winsock_error() : n;
}

ssize_t wire_give(int fd, const void *bytes, size_t size)
{
	int n = send((SOCKET)fd, bytes, (int)size, 0);
	if (n >= 0)
		return n;
	return winsock_error() == -WSAEWOULDBLOCK ? -EAGAIN : winsock_error();
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
