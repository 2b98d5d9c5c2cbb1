/* SPDX-License-Identifier: Apache-2.0 */

/*
 * ps ID: the agent says which processes there are, the host's ps(1) says what can be said about
 * them, as long as the host can see them: those of a local partition. Of a VM's there are the pids
 * inside.
 */

#include "shim/print.h"
#include "oci/file.h"
#include "shim/verbs.h"
#include "shim/view.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define OUTPUT_MAX (16u << 20)
#define COMMAND_MAX 4096

extern char **environ;

typedef LIST(struct control_process) process_list;

static bool all_visible(const process_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		if (!list->item[i].host_pid)
			return false;
	}
	return true;
}

static void print_pids(const process_list *list)
{
	putchar('[');
	for (size_t i = 0; i < list->count; i++) {
		const struct control_process *process = &list->item[i];
		printf("%s%u", i ? "," : "", process->host_pid ? process->host_pid : process->pid);
	}
	puts("]");
}

static int spawn_ps(char **argv, int output, pid_t *ret_pid)
{
	posix_spawn_file_actions_t actions;
	int error = posix_spawn_file_actions_init(&actions);
	if (error)
		return -error;
	error = posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
	if (!error)
		error = posix_spawnp(ret_pid, argv[0], &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return -error;
}

/* -ENOENT: there is no ps here. */
static int run_ps(int count, char **options, struct buf *out, struct fault *fault)
{
	static char ps[] = "ps", all[] = "-ef";
	char **argv = calloc((size_t)count + 3, sizeof(*argv));
	int fds[2], status;
	pid_t pid;
	if (!argv || pipe2(fds, O_CLOEXEC) < 0) {
		free(argv);
		return fault_errno(fault, argv ? -errno : -ENOMEM, "ps");
	}
	argv[0] = ps;
	argv[1] = all;
	for (int i = 0; i < count; i++)
		argv[i + 1] = options[i];
	int error = spawn_ps(argv, fds[1], &pid);
	free(argv);
	close(fds[1]);
	cleanup_close int output = fds[0];
	if (error < 0)
		return fault_errno(fault, error, "ps");
	error = buf_read_all(out, output);
	close_fd(&output);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (error < 0)
		return fault_errno(fault, error, "reading what ps says");
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return fault_set(fault, -EIO, HRESULT_FAIL, "ps has failed");
	return 0;
}

/* The word of a line by number, NULL if it has fewer. */
static const char *word(const char *line, const char *end, size_t number, size_t *ret_length)
{
	static const char blank[] = " \t";
	for (;;) {
		while (line < end && strchr(blank, *line))
			line++;
		const char *start = line;
		while (line < end && !strchr(blank, *line))
			line++;
		if (start == line)
			return NULL;
		*ret_length = (size_t)(line - start);
		if (!number--)
			return start;
	}
}

static bool find_pid_column(const char *line, const char *end, size_t *ret)
{
	const char *name;
	size_t length;
	for (size_t i = 0; (name = word(line, end, i, &length)); i++) {
		if (length == 3 && !memcmp(name, "PID", 3)) {
			*ret = i;
			return true;
		}
	}
	return false;
}

static bool is_ours(const char *line, const char *end, size_t column, const process_list *list)
{
	size_t length;
	const char *text = word(line, end, column, &length);
	unsigned long pid = text ? strtoul(text, NULL, 10) : 0;
	for (size_t i = 0; pid && i < list->count; i++) {
		if (list->item[i].host_pid == pid)
			return true;
	}
	return false;
}

static int print_lines(const struct buf *text, const process_list *list, struct fault *fault)
{
	const char *at = buf_head(text), *end = at + buf_length(text);
	size_t column = 0;
	for (bool first = true; at < end; first = false) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		const char *line_end = newline ? newline : end;
		if (first && !find_pid_column(at, line_end, &column))
			return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
			                 "ps: these options leave no column PID");
		if (first || is_ours(at, line_end, column, list))
			printf("%.*s\n", (int)(line_end - at), at);
		at = newline ? newline + 1 : end;
	}
	return 0;
}

/* What /proc says a process was started as; kernel threads and zombies have nothing there. */
static const char *command_of(uint32_t pid, char text[static COMMAND_MAX])
{
	static const char *const files[] = { "cmdline", "comm" };
	for (size_t i = 0; i < array_size(files); i++) {
		char path[40];
		snprintf(path, sizeof(path), "/proc/%u/%s", pid, files[i]);
		ssize_t n = file_read_text(AT_FDCWD, path, text, COMMAND_MAX);
		while (n > 0 && (text[n - 1] == '\0' || text[n - 1] == '\n'))
			n--;
		for (ssize_t c = 0; c < n; c++) {
			if (!text[c])
				text[c] = ' ';
		}
		text[n > 0 ? n : 0] = '\0';
		if (n > 0)
			break;
	}
	return text;
}

static int print_table(const process_list *list, struct fault *fault)
{
	static const char *const headings[] = { "PID", "STARTED AS", "COMMAND", NULL };
	struct table table = TABLE(array_size(headings) - 1);
	char command[COMMAND_MAX];
	table_add_words(&table, headings);
	for (size_t i = 0; i < list->count; i++) {
		const struct control_process *process = &list->item[i];
		bool visible = process->host_pid != 0;
		table_add(&table, "%u", visible ? process->host_pid : process->pid);
		table_add(&table, "%s", process->exec && *process->exec ? process->exec : "-");
		table_add(&table, "%s", visible ? command_of(process->host_pid, command) : "-");
	}
	return table_print(&table, fault);
}

static int show(const process_list *list, int count, char **options, struct fault *fault)
{
	if (!all_visible(list)) {
		if (count)
			return fault_set(fault, -ENOTSUP, HRESULT_NOT_IMPLEMENTED,
			                 "ps: these processes are inside a VM, where the host's ps "
			                 "cannot look");
		return print_table(list, fault);
	}
	struct buf text = BUF(OUTPUT_MAX);
	int error = run_ps(count, options, &text, fault);
	if (!error)
		error = print_lines(&text, list, fault);
	else if (error == -ENOENT && !count)
		error = print_table(list, fault);
	buf_deinit(&text);
	return error;
}

int verb_ps(struct cli *cli, void *options, int argc, char **argv, struct fault *fault)
{
	const struct format_options *asked = options;
	const struct control_request request = { .id = argv[0] };
	struct control_reply reply = { 0 };
	struct client client = CLIENT_NULL;
	bool json;
	int error = format_parse(asked->format, &json, fault);
	if (error < 0)
		return error;
	error = running_call(&cli->state, &client, argv[0], CONTROL_PROCESSES, &request, &reply,
	                     fault);
	/* Nothing runs in a stopped container, and that is an answer. */
	if (!error || error == -ESRCH) {
		process_list list = { reply.processes.count, reply.processes.item };
		error = 0;
		if (json)
			print_pids(&list);
		else
			error = show(&list, argc - 1, argv + 1, fault);
	}
	client_close(&client);
	return error;
}
