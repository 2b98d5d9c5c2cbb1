/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Programs of Windows expect handles of files and pipes, not overlapped sockets, so there are two
 * pipes in between.
 *
 * What a child inherits is a property of the handle, and what it finds in its environment is ours
 * at that time. So there is one lock around all of it: no child gets the pipes of another, which
 * would then never end.
 */

#include "contrib/hvcat/exec_windows.h"

#include "contrib/hvcat/stream_windows.h"
#include "contrib/hvcat/variables.h"

#include <limits.h>
#include <wchar.h>

static SRWLOCK starting = SRWLOCK_INIT;

/* The command's ends, and ours. */
struct pipes {
	HANDLE command_in, command_out, in, out;
};

static void close_handle(HANDLE *handle)
{
	if (*handle)
		CloseHandle(*handle);
	*handle = NULL;
}

static void pipes_close(struct pipes *pipes)
{
	close_handle(&pipes->command_in);
	close_handle(&pipes->command_out);
	close_handle(&pipes->in);
	close_handle(&pipes->out);
}

static bool pipes_open(struct pipes *pipes)
{
	SECURITY_ATTRIBUTES inherit = { .nLength = sizeof(inherit), .bInheritHandle = TRUE };
	return CreatePipe(&pipes->command_in, &pipes->out, &inherit, 0) &&
	       CreatePipe(&pipes->in, &pipes->command_out, &inherit, 0) &&
	       SetHandleInformation(pipes->in, HANDLE_FLAG_INHERIT, 0) &&
	       SetHandleInformation(pipes->out, HANDLE_FLAG_INHERIT, 0);
}

static void set_environment(const struct hv_peer *peer)
{
	struct variable variables[VARIABLES];
	variables_of(peer, variables);
	for (size_t i = 0; i < VARIABLES; i++)
		(void)SetEnvironmentVariableA(variables[i].name, variables[i].value);
}

/* cmd /s takes the first and the last quote away, and nothing else. */
static wchar_t *command_line(const char *text)
{
	static const wchar_t before[] = L"cmd.exe /s /c \"";
	size_t length = wcslen(before);
	int size = MultiByteToWideChar(CP_UTF8, 0, text, -1, NULL, 0);
	wchar_t *line = size > 0 ? calloc(length + (size_t)size + 1, sizeof(*line)) : NULL;
	if (line) {
		wcscpy(line, before);
		MultiByteToWideChar(CP_UTF8, 0, text, -1, line + length, size);
		wcscat(line, L"\"");
	}
	return line;
}

static HANDLE begin(const char *text, struct pipes *pipes, const struct hv_peer *peer)
{
	PROCESS_INFORMATION process = { 0 };
	cleanup_free wchar_t *line = command_line(text);
	AcquireSRWLockExclusive(&starting);
	if (line && pipes_open(pipes)) {
		STARTUPINFOW startup = {
			.cb = sizeof(startup),
			.dwFlags = STARTF_USESTDHANDLES,
			.hStdInput = pipes->command_in,
			.hStdOutput = pipes->command_out,
			.hStdError = GetStdHandle(STD_ERROR_HANDLE),
		};
		set_environment(peer);
		if (CreateProcessW(NULL, line, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &process))
			CloseHandle(process.hThread);
	}
	close_handle(&pipes->command_in);
	close_handle(&pipes->command_out);
	ReleaseSRWLockExclusive(&starting);
	return process.hProcess;
}

int command_run(const char *text, SOCKET socket, const struct hv_peer *peer)
{
	struct pipes pipes = { 0 };
	HANDLE process = begin(text, &pipes, peer);
	DWORD status = 0;
	struct stream connection = { .socket = socket };
	struct stream command = { .socket = INVALID_SOCKET, .in = pipes.in, .out = pipes.out };
	struct flow input = { .from = &connection, .to = &command };
	struct flow output = { .from = &command, .to = &connection };
	if (!process || flow_start(&input) < 0) {
		/* Without its pipes a command that has begun ends. */
		pipes_close(&pipes);
		return process ? -ENOMEM : -ENOEXEC;
	}
	pipes.out = NULL; /* the flow's: closed where it ends */
	flow_run(&output);
	/* Nobody reads what it may have to say yet. */
	close_handle(&pipes.in);
	WaitForSingleObject(process, INFINITE);
	GetExitCodeProcess(process, &status);
	CloseHandle(process);
	/* The connection ends with the command. */
	stream_cut(&connection);
	flow_wait(&input);
	return (int)(status & INT_MAX);
}
