/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a container may try against its VM, with no more rights than it has.
 *
 * usage: hostile queue               a signal to process 1 that claims to come from the kernel
 *        hostile poll                another, sent by the kernel in the name of nobody
 *        hostile dial COUNT PORT     connections to the host; they stay until we are killed
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

static int queue(void)
{
	siginfo_t info = { .si_signo = SIGTERM, .si_code = SI_QUEUE };
	return (int)syscall(SYS_rt_sigqueueinfo, 1, SIGTERM, &info);
}

static int poll_signal(void)
{
	int fd[2];
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) < 0 || fcntl(fd[0], F_SETOWN, 1) < 0 ||
	    fcntl(fd[0], F_SETSIG, SIGTERM) < 0 || fcntl(fd[0], F_SETFL, O_ASYNC) < 0)
		return -1;
	return write(fd[1], "x", 1) == 1 ? 0 : -1;
}

static int dial(unsigned long count, unsigned long port)
{
	struct sockaddr_vm host = {
		.svm_family = AF_VSOCK,
		.svm_cid = VMADDR_CID_HOST,
		.svm_port = (unsigned)port,
	};
	for (unsigned long i = 0; i < count; i++) {
		int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK, 0);
		if (fd < 0 || (connect(fd, (struct sockaddr *)&host, sizeof(host)) < 0 &&
		               errno != EINPROGRESS))
			return -1;
	}
	puts("dialled");
	fflush(stdout);
	pause();
	return 0;
}

int main(int argc, char **argv)
{
	int r = -1;
	errno = EINVAL;
	if (argc == 2 && !strcmp(argv[1], "queue"))
		r = queue();
	else if (argc == 2 && !strcmp(argv[1], "poll"))
		r = poll_signal();
	else if (argc == 4 && !strcmp(argv[1], "dial"))
		r = dial(strtoul(argv[2], NULL, 0), strtoul(argv[3], NULL, 0));
	if (r < 0)
		perror("hostile");
	return r < 0;
}
