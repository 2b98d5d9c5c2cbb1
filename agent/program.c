/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A name without a slash is tried in every directory of the PATH by execve() itself: asking first
 * would cost as much as trying, need system calls that a seccomp filter may forbid, and answer for
 * another user than the one who runs it. Only when all has failed it is found out why, for the
 * text.
 */

#include "agent/program.h"

#include "oci/hook.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Where the environment has no PATH. */
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct search {
	const char *name;
	const char *path;       /* what is left of the PATH; NULL at the end */
	char candidate[PATH_MAX];
};

const char *program_env(const struct oci_process *process, const char *name)
{
	size_t length = strlen(name);
	for (size_t i = 0; i < process->env.count; i++) {
		const char *entry = process->env.item[i];
		if (strncmp(entry, name, length) == 0 && entry[length] == '=')
			return entry + length + 1;
	}
	return NULL;
}

static struct search search_begin(const struct oci_process *process)
{
	const char *path = program_env(process, "PATH");
	return (struct search){ .name = process->args.item[0], .path = path ? path : DEFAULT_PATH };
}

/* A name with a slash is its own only candidate; an empty directory is the current one. */
static bool search_next(struct search *search)
{
	while (search->path) {
		if (strchr(search->name, '/')) {
			search->path = NULL;
			return snprintf(search->candidate, PATH_MAX, "%s", search->name) < PATH_MAX;
		}
		const char *directory = search->path;
		size_t length = strcspn(directory, ":");
		search->path = directory[length] ? directory + length + 1 : NULL;
		if (length >= PATH_MAX)
			continue;
		if (length == 0) {
			directory = ".";
			length = 1;
		}
		if (snprintf(search->candidate, PATH_MAX, "%.*s/%s", (int)length, directory,
		             search->name) < PATH_MAX)
			return true;
	}
	return false;
}

static int not_found(const char *name, struct fault *fault)
{
	return fault_set(fault, -ENOENT, HRESULT_FAIL,
	                 "exec: \"%s\": executable file not found in $PATH", name);
}

/* Why a path is no program, or 0 when it looks like one. */
static int look_at(const char *path, struct fault *fault)
{
	struct stat st;
	if (stat(path, &st) < 0)
		return fault_errno(fault, -errno, "exec: \"%s\": stat %s", path, path);
	/*
	 * EACCES, as from execve(2): callers search the text for that, and make an exit status of
	 * it.
	 */
	if (S_ISDIR(st.st_mode))
		return fault_set(fault, -EACCES, HRESULT_FAIL,
		                 "exec: \"%s\": permission denied: it is a directory", path);
	if (!S_ISREG(st.st_mode) || !(st.st_mode & 0111))
		return fault_errno(fault, -EACCES, "exec: \"%s\"", path);
	return 0;
}

int program_find(const struct oci_process *process, struct fault *fault)
{
	struct search search = search_begin(process);
	if (strchr(search.name, '/')) {
		int r = look_at(search.name, fault);
		return r == -EACCES && access(search.name, F_OK) < 0 ? 0 : r;
	}
	while (*search.name && search_next(&search)) {
		if (look_at(search.candidate, NULL) == 0)
			return 0;
	}
	return not_found(search.name, fault);
}

/* error is execve's about a candidate that ended the search. */
static int explain(const char *path, int error, struct fault *fault)
{
	if (error == -EACCES || error == -ENOENT || error == -ENOTDIR) {
		int r = look_at(path, fault);
		if (r < 0)
			return r;
		/* It is there: its interpreter is not, or the user may not. */
		if (error == -EACCES)
			return fault_errno(fault, error, "exec: \"%s\"", path);
	}
	return fault_errno(fault, error, "exec %s", path);
}

int program_exec(const struct oci_process *process, const char *home, struct fault *fault)
{
	char home_entry[PATH_MAX + sizeof("HOME=")];
	if (home)
		snprintf(home_entry, sizeof(home_entry), "HOME=%s", home);
	cleanup_free char **args = str_list_vector(&process->args, NULL);
	cleanup_free char **env = str_list_vector(&process->env, home ? home_entry : NULL);
	if (!args || !env)
		return fault_errno(fault, -ENOMEM, "exec");

	struct search search = search_begin(process);
	bool denied = false;
	while (*search.name && search_next(&search)) {
		execve(search.candidate, args, env);
		int error = -errno;
		if (strchr(search.name, '/'))
			return explain(search.candidate, error, fault);
		if (error == -EACCES)
			denied = denied || look_at(search.candidate, NULL) == 0;
		else if ((error != -ENOENT && error != -ENOTDIR) ||
		         look_at(search.candidate, NULL) == 0)
			return explain(search.candidate, error, fault);
	}
	if (denied)
		return fault_errno(fault, -EACCES, "exec: \"%s\"", search.name);
	if (strchr(search.name, '/'))
		return look_at(search.name, fault); /* it is longer than a path can be */
	return not_found(search.name, fault);
}
