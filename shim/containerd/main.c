/* SPDX-License-Identifier: Apache-2.0 */

/*
 * containerd-shim-hvrun-v1: the program. What it prints is read by containerd, and what it prints
 * when it fails is read by people: one line.
 */

#include "oci/log.h"
#include "shim/containerd/info.h"
#include "shim/containerd/output.h"
#include "shim/containerd/remove.h"
#include "shim/containerd/start.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* Whoever starts us has ideas of his own about signals and open files. */
static bool make_usual(void)
{
	sigset_t none;

	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	for (int number = 1; number < NSIG; number++)
		(void)signal(number, number == SIGPIPE ? SIG_IGN : SIG_DFL);
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			return false;
	}
	return true;
}

static int run(int argc, char **argv, struct fault *fault)
{
	struct shim_command command;
	int error = options_parse(argc, argv, &command, fault);

	if (error < 0)
		return error;
	if (command.help)
		return output_bytes(options_usage, strlen(options_usage), fault);
	if (command.version)
		return info_print_version(fault);
	if (command.info)
		return info_print(fault);
	return strcmp(command.action, "delete") ? start_run(&command, fault)
	                                        : remove_run(&command, fault);
}

int main(int argc, char **argv)
{
	struct fault fault = FAULT_NULL;

	/* The log is the daemon's, and standard error is a part of the answer. */
	log_init(-1, LOG_FORMAT_TEXT, LOG_LEVEL_ERROR);
	if (!make_usual())
		return EXIT_FAILURE;
	if (run(argc, argv, &fault) >= 0)
		return EXIT_SUCCESS;
	fprintf(stderr, "containerd-shim-hvrun-v1: %s\n", fault.text);
	return EXIT_FAILURE;
}
