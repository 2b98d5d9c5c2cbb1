/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Three programs follow one another on that command line, each with options of its own: -e is the
 * entropy of the first and the log of the second. The name of a program ends the options of the one
 * before. Where the VM has a console, all from the second on is a script for a shell, which runs
 * them in the background and then becomes a shell on the console; what is behind the & is none of
 * our business. Microsoft's second generation of hosts forgets the space behind -c.
 *
 * Options that begin with -- are looked up too, because Go takes them; those that are not found may
 * be the agent's own.
 */

#include "agent/gcs_options.h"

#include "agent/vm.h"

#include <string.h>

enum stage { INIT, VSOCKEXEC, GCS };

static const struct {
	const char *name;
	enum stage stage;
} programs[] = {
	{ "vsockexec", VSOCKEXEC },
	{ "gcs", GCS },
};

enum { SWITCH, VALUE };

/* Where the value goes. Nowhere: it asks for nothing that is not so anyway. */
#define INTO(member) offsetof(struct gcs_options, member)
#define NOWHERE SIZE_MAX
/* What cannot be done here is said to be ignored. */
#define IGNORED (SIZE_MAX - 1)

static const struct {
	enum stage stage;
	const char *name;
	int kind;
	size_t into;
} options[] = {
	{ INIT, "d", VALUE, IGNORED },
	{ INIT, "e", VALUE, INTO(entropy_port) },
	{ INIT, "w", SWITCH, NOWHERE },
	{ VSOCKEXEC, "e", VALUE, INTO(error_port) },
	{ VSOCKEXEC, "i", VALUE, IGNORED },
	{ VSOCKEXEC, "o", VALUE, INTO(output_port) },
	{ VSOCKEXEC, "r", SWITCH, INTO(redial) },
	{ GCS, "core-dump-location", VALUE, INTO(core_pattern) },
	{ GCS, "disable-time-sync", SWITCH, NOWHERE },
	{ GCS, "gcs-mem-limit-bytes", VALUE, NOWHERE },
	{ GCS, "initial-policy-stance", VALUE, INTO(policy_stance) },
	{ GCS, "kmsgLogLevel", VALUE, IGNORED },
	{ GCS, "log-format", VALUE, INTO(log_format) },
	{ GCS, "logfile", VALUE, IGNORED },
	{ GCS, "loglevel", VALUE, INTO(log_level) },
	{ GCS, "root-mem-reserve-bytes", VALUE, NOWHERE },
	{ GCS, "scrub-logs", SWITCH, NOWHERE },
	{ GCS, "use-inouterr", SWITCH, IGNORED },
	{ GCS, "v4", SWITCH, NOWHERE },
};

static const char *base_name(const char *word)
{
	const char *slash = strrchr(word, '/');
	return slash ? slash + 1 : word;
}

static void append(struct str_list *list, const char *word)
{
	list->item[list->count++] = word;
}

/* The script of "sh -c …" up to its &, in words; *at is behind it then. */
static int expand_script(struct arena *arena, char **argv, int *at, struct str_list *words)
{
	const char *script = argv[*at + 1] + strlen("-c");
	*at += 2;
	if (!*script && argv[*at])
		script = argv[(*at)++];
	/* The kernel removes quotes around a word, and leaves those within. */
	bool quoted = *script == '"';
	script += quoted;
	char *copy = arena_copy(arena, script, strcspn(script, quoted ? "&;\"" : "&;"));
	struct str_list list;
	int error = copy ? split_words(arena, copy, &list) : -ENOMEM;
	for (size_t i = 0; !error && i < list.count; i++)
		append(words, list.item[i]);
	return error;
}

static int expand(struct arena *arena, char **argv, struct str_list *words)
{
	int error = 0;
	for (int i = 1; !error && argv[i];) {
		bool shell = !strcmp(base_name(argv[i]), "sh") && argv[i + 1] &&
		             !strncmp(argv[i + 1], "-c", 2);
		if (shell)
			error = expand_script(arena, argv, &i, words);
		else
			append(words, argv[i++]);
	}
	return error;
}

/* Of the word, which is an option; -ENOENT. */
static int find_option(enum stage stage, const char *word)
{
	const char *name = word + 1;
	if (*name == '-' && stage == GCS)
		name++;
	size_t length = strcspn(name, "=");
	for (size_t i = 0; i < array_size(options); i++) {
		if (options[i].stage == stage && strlen(options[i].name) == length &&
		    !memcmp(options[i].name, name, length))
			return (int)i;
	}
	return -ENOENT;
}

/* Takes the option at words[*at], and its value. */
static int take_option(const struct str_list *words, size_t *at, enum stage stage,
                       struct gcs_options *ret, struct str_list *rest)
{
	const char *word = words->item[(*at)++];
	int i = find_option(stage, word);
	if (i < 0) {
		append(!strncmp(word, "--", 2) ? rest : &ret->ignored, word);
		return 0;
	}
	const char *value = strchr(word, '=');
	if (value)
		value++;
	else if (options[i].kind == SWITCH)
		value = "";
	else if (*at < words->count)
		value = words->item[(*at)++];
	else
		return -EINVAL;
	if (options[i].into == IGNORED)
		append(&ret->ignored, word);
	else if (options[i].into != NOWHERE)
		*(const char **)(void *)((char *)ret + options[i].into) = value;
	return 0;
}

/* True when it is the next program's name. */
static bool begins_stage(const char *word, enum stage *stage)
{
	for (size_t i = 0; i < array_size(programs); i++) {
		if (!strcmp(base_name(word), programs[i].name) && programs[i].stage > *stage) {
			*stage = programs[i].stage;
			return true;
		}
	}
	return false;
}

int gcs_options_take(struct arena *arena, int argc, char **argv, struct gcs_options *ret,
                     struct str_list *rest)
{
	size_t room = (size_t)argc + 1;
	for (int i = 0; i < argc; i++)
		room += strlen(argv[i]) / 2;
	struct str_list words = { .item = arena_array(arena, room, sizeof(*words.item)) };
	*ret = (struct gcs_options){
		.ignored.item = arena_array(arena, room, sizeof(*words.item)),
	};
	*rest = (struct str_list){ .item = arena_array(arena, room, sizeof(*words.item)) };
	if (!words.item || !ret->ignored.item || !rest->item)
		return -ENOMEM;
	int error = expand(arena, argv, &words);
	enum stage stage = INIT;
	append(rest, argv[0]);
	for (size_t i = 0; !error && i < words.count;) {
		const char *word = words.item[i];
		if (word[0] == '-' && word[1])
			error = take_option(&words, &i, stage, ret, rest);
		else if (begins_stage(word, &stage))
			i++;
		else
			append(rest, words.item[i++]);
	}
	rest->item[rest->count] = NULL;
	return error;
}
