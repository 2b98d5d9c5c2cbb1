/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Every shim there is is written in Go or imitates one, so callers may write flags as Go reads
 * them: with one dash or two, a value behind "=" or in the next word, and no value in the next word
 * for what is a switch. getopt(3) knows none of that.
 */

#include "shim/containerd/options.h"

#include "oci/spec.h"

#include <string.h>

const char options_usage[] =
	"usage: containerd-shim-hvrun-v1 [flags] start|delete\n"
	"\n"
	"The shim of containerd that runs containers with hvrun, as runtime io.containerd.hvrun.v1.\n"
	"containerd calls it; see containerd-shim-hvrun-v1(8).\n"
	"\n"
	"  -namespace NS         containerd's namespace\n"
	"  -id ID                the container's id\n"
	"  -address PATH         containerd's gRPC socket\n"
	"  -publish-binary PATH  containerd's program, for events\n"
	"  -bundle PATH          the container's bundle, for delete\n"
	"  -debug                log everything\n"
	"  -info                 print a RuntimeInfo message\n"
	"  -v, -version          print the version\n"
	"  -h, -help             print this\n";

enum flag_kind { FLAG_TEXT, FLAG_SWITCH };
#define TEXT(name, member) { name, FLAG_TEXT, offsetof(struct shim_command, member) }
#define SWITCH(name, member) { name, FLAG_SWITCH, offsetof(struct shim_command, member) }

static const struct flag {
	const char *name;
	enum flag_kind kind;
	size_t offset;
} flags[] = {
	TEXT("namespace", namespace),
	TEXT("id", id),
	TEXT("address", address),
	TEXT("publish-binary", publish_binary),
	TEXT("bundle", bundle),
	TEXT("socket", socket),
	TEXT("debug-socket", debug_socket),
	SWITCH("debug", debug),
	SWITCH("info", info),
	SWITCH("v", version),
	SWITCH("version", version),
	SWITCH("h", help),
	SWITCH("help", help),
};

static int parse_switch(const char *text, bool *ret)
{
	static const char *const words[][6] = {
		{ "0", "f", "F", "false", "FALSE", "False" },
		{ "1", "t", "T", "true", "TRUE", "True" },
	};

	for (size_t i = 0; i < array_size(words) * array_size(words[0]); i++) {
		if (!strcmp(words[i / array_size(words[0])][i % array_size(words[0])], text)) {
			*ret = i >= array_size(words[0]);
			return 0;
		}
	}
	return -EINVAL;
}

static const struct flag *find_flag(const char *name, size_t length)
{
	for (size_t i = 0; i < array_size(flags); i++) {
		if (strlen(flags[i].name) == length && !strncmp(flags[i].name, name, length))
			return &flags[i];
	}
	return NULL;
}

/* word: without its dashes; next: the word behind it, or NULL. 1: that one was taken as well. */
static int parse_flag(const char *word, const char *next, struct shim_command *ret,
                      struct fault *fault)
{
	size_t length = strcspn(word, "=");
	const char *value = word[length] ? word + length + 1 : NULL;
	const struct flag *flag = find_flag(word, length);

	if (!length || *word == '-')
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT, "bad flag syntax: -%s",
		                 word);
	if (!flag)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "flag provided but not defined: -%.*s", (int)length, word);
	void *member = (char *)ret + flag->offset;
	if (flag->kind == FLAG_SWITCH) {
		if (parse_switch(value ? value : "true", member) < 0)
			return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
			                 "invalid boolean value \"%s\" for -%s", value, flag->name);
		return 0;
	}
	if (!value && !next)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "flag needs an argument: -%s", flag->name);
	*(const char **)member = value ? value : next;
	return value ? 0 : 1;
}

/* Both become names of files, and the id of a partition. */
static int check_name(const char *flag, const char *name, struct fault *fault)
{
	if (!*name)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT, "-%s is required", flag);
	if (oci_id_check(name, NULL) < 0)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "-%s \"%.64s\": is not 1 to %d letters, digits and _+.-", flag,
		                 name, OCI_ID_MAX);
	return 0;
}

static int check(const struct shim_command *command, struct fault *fault)
{
	if (command->help || command->version || command->info)
		return 0;
	if (!*command->action)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT,
		                 "an action is missing: start or delete");
	if (strcmp(command->action, "start") != 0 && strcmp(command->action, "delete") != 0)
		return fault_set(fault, -EINVAL, HRESULT_INVALID_ARGUMENT, "unknown action \"%s\"",
		                 command->action);
	int error = check_name("namespace", command->namespace, fault);
	return error < 0 ? error : check_name("id", command->id, fault);
}

static const char *environment(const char *name)
{
	const char *value = getenv(name);

	return value ? value : "";
}

int options_parse(int argc, char **argv, struct shim_command *ret, struct fault *fault)
{
	int at = 1;

	*ret = (struct shim_command){
		.action = "",
		.namespace = "",
		.id = "",
		.address = "",
		.publish_binary = "",
		.bundle = "",
		.socket = "",
		.debug_socket = "",
		.ttrpc_address = environment("TTRPC_ADDRESS"),
		.json = getenv("GRPC_ADDRESS") && getenv("MAX_SHIM_VERSION"),
	};
	while (at < argc && argv[at][0] == '-' && argv[at][1]) {
		const char *word = argv[at] + (argv[at][1] == '-' ? 2 : 1);
		at++;
		if (!*word)
			break;
		int taken = parse_flag(word, at < argc ? argv[at] : NULL, ret, fault);
		if (taken < 0)
			return taken;
		at += taken;
	}
	if (at < argc)
		ret->action = argv[at];
	return check(ret, fault);
}
