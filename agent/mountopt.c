/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One row per word. Words that undo one another are rows whose bits meet, so that the last word
 * wins as it does with mount(8). The words for the time of access are one choice out of
 * three, of which the plain one (relatime) is what the kernel does by itself.
 *
 * A macro lists the rows, so that the names for `features` cannot fall behind the table.
 */

#include "agent/mountopt.h"

#include "oci/mountapi.h"

#include <string.h>

enum mark {
	MARK_BIND = 1 << 0,
	MARK_RECURSIVE_BIND = 1 << 1,
	MARK_COPY_UP = 1 << 2,
	MARK_IDMAP = 1 << 3,
	MARK_RECURSIVE_IDMAP = 1 << 4,
};

struct word {
	const char *name;
	unsigned long set, clear;       /* of MS_*; clear is what the word explicitly undoes */
	unsigned long drop;             /* of MS_*: earlier words that this one replaces */
	uint64_t attr_set, attr_clear;  /* of MOUNT_ATTR_* */
	bool attr_atime;                /* attr_set is a choice of MOUNT_ATTR__ATIME */
	uint64_t attr_not;              /* … and this undoes that choice */
	unsigned long propagation;
	unsigned marks;                 /* enum mark */
};

#define WORDS(word) \
	word("defaults", .set = 0) \
	word("ro", .set = MS_RDONLY) \
	word("rw", .clear = MS_RDONLY) \
	word("nosuid", .set = MS_NOSUID) \
	word("suid", .clear = MS_NOSUID) \
	word("nodev", .set = MS_NODEV) \
	word("dev", .clear = MS_NODEV) \
	word("noexec", .set = MS_NOEXEC) \
	word("exec", .clear = MS_NOEXEC) \
	word("nosymfollow", .set = MS_NOSYMFOLLOW) \
	word("symfollow", .clear = MS_NOSYMFOLLOW) \
	word("sync", .set = MS_SYNCHRONOUS) \
	word("async", .clear = MS_SYNCHRONOUS) \
	word("dirsync", .set = MS_DIRSYNC) \
	word("mand", .set = MS_MANDLOCK) \
	word("nomand", .clear = MS_MANDLOCK) \
	word("lazytime", .set = MS_LAZYTIME) \
	word("nolazytime", .clear = MS_LAZYTIME) \
	word("iversion", .set = MS_I_VERSION) \
	word("noiversion", .clear = MS_I_VERSION) \
	word("silent", .set = MS_SILENT) \
	word("loud", .clear = MS_SILENT) \
	word("noatime", .set = MS_NOATIME, .drop = MS_RELATIME | MS_STRICTATIME) \
	word("atime", .clear = MS_NOATIME) \
	word("relatime", .set = MS_RELATIME, .drop = MS_NOATIME | MS_STRICTATIME) \
	word("norelatime", .clear = MS_RELATIME) \
	word("strictatime", .set = MS_STRICTATIME, .drop = MS_NOATIME | MS_RELATIME) \
	word("nostrictatime", .clear = MS_STRICTATIME) \
	word("nodiratime", .set = MS_NODIRATIME) \
	word("diratime", .clear = MS_NODIRATIME) \
	word("remount", .set = MS_REMOUNT) \
	word("bind", .marks = MARK_BIND) \
	word("rbind", .marks = MARK_BIND | MARK_RECURSIVE_BIND) \
	word("private", .propagation = MS_PRIVATE) \
	word("rprivate", .propagation = MS_PRIVATE | MS_REC) \
	word("shared", .propagation = MS_SHARED) \
	word("rshared", .propagation = MS_SHARED | MS_REC) \
	word("slave", .propagation = MS_SLAVE) \
	word("rslave", .propagation = MS_SLAVE | MS_REC) \
	word("unbindable", .propagation = MS_UNBINDABLE) \
	word("runbindable", .propagation = MS_UNBINDABLE | MS_REC) \
	word("rro", .attr_set = MOUNT_ATTR_RDONLY) \
	word("rrw", .attr_clear = MOUNT_ATTR_RDONLY) \
	word("rnosuid", .attr_set = MOUNT_ATTR_NOSUID) \
	word("rsuid", .attr_clear = MOUNT_ATTR_NOSUID) \
	word("rnodev", .attr_set = MOUNT_ATTR_NODEV) \
	word("rdev", .attr_clear = MOUNT_ATTR_NODEV) \
	word("rnoexec", .attr_set = MOUNT_ATTR_NOEXEC) \
	word("rexec", .attr_clear = MOUNT_ATTR_NOEXEC) \
	word("rnodiratime", .attr_set = MOUNT_ATTR_NODIRATIME) \
	word("rdiratime", .attr_clear = MOUNT_ATTR_NODIRATIME) \
	word("rnosymfollow", .attr_set = MOUNT_ATTR_NOSYMFOLLOW) \
	word("rsymfollow", .attr_clear = MOUNT_ATTR_NOSYMFOLLOW) \
	word("rnoatime", .attr_set = MOUNT_ATTR_NOATIME, .attr_atime = true) \
	word("ratime", .attr_not = MOUNT_ATTR_NOATIME, .attr_atime = true) \
	word("rrelatime", .attr_set = MOUNT_ATTR_RELATIME, .attr_atime = true) \
	word("rnorelatime", .attr_not = MOUNT_ATTR_RELATIME, .attr_atime = true) \
	word("rstrictatime", .attr_set = MOUNT_ATTR_STRICTATIME, .attr_atime = true) \
	word("rnostrictatime", .attr_not = MOUNT_ATTR_STRICTATIME, .attr_atime = true) \
	word("tmpcopyup", .marks = MARK_COPY_UP) \
	word("idmap", .marks = MARK_IDMAP) \
	word("ridmap", .marks = MARK_IDMAP | MARK_RECURSIVE_IDMAP)

#define WORD_ROW(...) { __VA_ARGS__ },
#define WORD_NAME(name, ...) name,

static const struct word words[] = { WORDS(WORD_ROW) };
const char *const mount_option_names[] = { WORDS(WORD_NAME) NULL };

static const struct word *word_find(const char *name)
{
	for (size_t i = 0; i < array_size(words); i++)
		if (!strcmp(words[i].name, name))
			return &words[i];
	return NULL;
}

static void word_apply(const struct word *word, struct mount_options *options)
{
	options->flags = (options->flags & ~(word->clear | word->drop)) | word->set;
	options->clear = (options->clear | word->clear) & ~word->set;
	if (word->attr_atime) {
		uint64_t choice = options->attr_set & MOUNT_ATTR__ATIME;
		if (!word->attr_not || choice == word->attr_not)
			choice = word->attr_set;
		options->attr_set = (options->attr_set & ~(uint64_t)MOUNT_ATTR__ATIME) | choice;
		options->attr_clear |= MOUNT_ATTR__ATIME;
	} else {
		options->attr_set = (options->attr_set & ~word->attr_clear) | word->attr_set;
		options->attr_clear = (options->attr_clear | word->attr_clear) & ~word->attr_set;
	}
	if (word->propagation)
		options->propagation = word->propagation;
	options->bind |= word->marks & MARK_BIND;
	options->recursive_bind |= word->marks & MARK_RECURSIVE_BIND;
	options->copy_up |= word->marks & MARK_COPY_UP;
	options->idmap |= word->marks & MARK_IDMAP;
	options->recursive_idmap |= word->marks & MARK_RECURSIVE_IDMAP;
}

/* Everything that is no word of the table, joined by commas. NULL: out of memory. */
static const char *join_data(struct arena *arena, const struct str_list *options)
{
	size_t size = 1;
	for (size_t i = 0; i < options->count; i++)
		size += strlen(options->item[i]) + 1;
	char *data = arena_alloc(arena, size), *end = data;
	for (size_t i = 0; data && i < options->count; i++) {
		const char *option = options->item[i];
		size_t length = strlen(option);
		if (!length || word_find(option))
			continue;
		if (end != data)
			*end++ = ',';
		memcpy(end, option, length);
		end += length;
	}
	return data;
}

int mount_options_parse(struct arena *arena, const struct str_list *options,
                        struct mount_options *ret)
{
	*ret = (struct mount_options){ 0 };
	bool data = false;
	for (size_t i = 0; i < options->count; i++) {
		const struct word *word = word_find(options->item[i]);
		if (word)
			word_apply(word, ret);
		else
			data |= *options->item[i] != '\0';
	}
	bool remount = ret->flags & MS_REMOUNT;
	if ((ret->copy_up && (ret->bind || remount)) || (ret->idmap && remount))
		return -EINVAL;
	if (data && !(ret->data = join_data(arena, options)))
		return -ENOMEM;
	return 0;
}

unsigned long mount_propagation_parse(const char *name)
{
	const struct word *word = name ? word_find(name) : NULL;
	return word ? word->propagation : 0;
}
